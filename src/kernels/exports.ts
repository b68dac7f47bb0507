import type { Pointer } from "./arena.ts";

/** What `assembly/index.ts` exports. Pointers are byte addresses in the shared memory. */
export type KernelExports = {
  heapBase(): Pointer;
  fillNoise(
    out: Pointer,
    length: number,
    key0: number,
    key1: number,
    first: number,
  ): void;

  // MXFP4
  quantizeNearestMxfp4(
    elements: Pointer,
    scales: Pointer,
    input: Pointer,
    length: number,
    ties: number,
    scaleRule: number,
    prescale: number,
    leastScale: number,
  ): void;
  quantizeStochasticMxfp4(
    elements: Pointer,
    scales: Pointer,
    input: Pointer,
    length: number,
    scaleRule: number,
    prescale: number,
    leastScale: number,
    key0: number,
    key1: number,
    firstPair: number,
  ): void;
  dequantizeMxfp4(
    out: Pointer,
    elements: Pointer,
    scales: Pointer,
    length: number,
    factor: number,
  ): void;
  packGgmlMxfp4(
    out: Pointer,
    elements: Pointer,
    scales: Pointer,
    blocks: number,
  ): void;
  unpackGgmlMxfp4(
    elements: Pointer,
    scales: Pointer,
    packed: Pointer,
    blocks: number,
  ): void;
  centralMomentsF32(out: Pointer, x: Pointer, length: number): void;
  compareF32(out: Pointer, x: Pointer, y: Pointer, length: number): void;
  countMxfp4(
    out: Pointer,
    x: Pointer,
    elements: Pointer,
    scales: Pointer,
    length: number,
    prescale: number,
  ): void;
  signsF32(out: Pointer, length: number, key0: number, key1: number): void;
  /** Each segment becomes diag(after) · H · diag(before) · segment, `after` with the norm in it. */
  hadamardF32(
    x: Pointer,
    length: number,
    segmentLength: number,
    before: Pointer,
    after: Pointer,
  ): void;
  /** 1 where one instruction multiplies, adds and accumulates bytes. */
  accumulatesDots(): number;
  /** side 0 (a) or 1 (b); signs 0 for none; stochastic 0 or 1; scratch of 4736 bytes. */
  packMxfp4(
    panel: Pointer,
    source: Pointer,
    rows: number,
    k: number,
    rowStride: number,
    kStride: number,
    side: number,
    signs: Pointer,
    stochastic: number,
    key0: number,
    key1: number,
    scratch: Pointer,
  ): void;
  gemmMxfp4(
    out: Pointer,
    a: Pointer,
    b: Pointer,
    m: number,
    n: number,
    k: number,
    factor: number,
    accumulating: number,
  ): void;
  packInt6(
    panel: Pointer,
    source: Pointer,
    rows: number,
    k: number,
    rowStride: number,
    kStride: number,
    side: number,
    scratch: Pointer,
  ): void;
  gemmInt6(
    out: Pointer,
    a: Pointer,
    b: Pointer,
    bias: Pointer,
    m: number,
    n: number,
    k: number,
    accumulating: number,
  ): void;

  // Vectors
  addF32(out: Pointer, a: Pointer, b: Pointer, length: number): void;
  scaleF32(x: Pointer, length: number, factor: number): void;
  sumSquaresF32(x: Pointer, length: number): number;
  canonicalizeNaNF32(x: Pointer, length: number): void;
  encodeBf16(out: Pointer, x: Pointer, length: number): void;
  encodeBf16Stochastic(
    out: Pointer,
    x: Pointer,
    length: number,
    key0: number,
    key1: number,
    firstPair: number,
  ): void;
  decodeBf16(out: Pointer, bits: Pointer, length: number): void;
  encodeF16(out: Pointer, x: Pointer, length: number): void;
  decodeF16(out: Pointer, bits: Pointer, length: number): void;
  narrowF64(out: Pointer, x: Pointer, length: number): void;
  normalF32(
    out: Pointer,
    length: number,
    deviation: number,
    key0: number,
    key1: number,
    firstElement: number,
  ): void;
  adamWF32(
    parameters: Pointer,
    m: Pointer,
    v: Pointer,
    gradient: Pointer,
    length: number,
    gradientScale: number,
    beta1: number,
    beta2: number,
    stepSize: number,
    rootCorrection2: number,
    epsilon: number,
    decay: number,
  ): void;
  cosine(x: number): number;

  // Matrix products
  packF32(
    out: Pointer,
    source: Pointer,
    rows: number,
    k: number,
    rowStride: number,
    kStride: number,
    width: number,
    roundToBf16: number,
  ): void;
  gemmF32(
    out: Pointer,
    outStride: number,
    aPanels: Pointer,
    bPanels: Pointer,
    m: number,
    n: number,
    k: number,
    accumulate: number,
  ): void;
  transposeF32(
    out: Pointer,
    source: Pointer,
    rows: number,
    columns: number,
  ): void;
  fusesMadd(): number;

  // Layers
  expF32(out: Pointer, x: Pointer, length: number): void;
  embeddingForwardF32(
    out: Pointer,
    tokens: Pointer,
    tokenEmbedding: Pointer,
    positionEmbedding: Pointer,
    sequences: number,
    length: number,
    width: number,
  ): void;
  embeddingBackwardF32(
    dTokenEmbedding: Pointer,
    dPositionEmbedding: Pointer,
    dOut: Pointer,
    tokens: Pointer,
    sequences: number,
    length: number,
    width: number,
  ): void;
  biasForwardF32(
    out: Pointer,
    bias: Pointer,
    rows: number,
    columns: number,
  ): void;
  biasBackwardF32(
    dBias: Pointer,
    dOut: Pointer,
    rows: number,
    columns: number,
  ): void;
  layerNormForwardF32(
    out: Pointer,
    mean: Pointer,
    rstd: Pointer,
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    rows: number,
    width: number,
  ): void;
  layerNormBackwardF32(
    dX: Pointer,
    dWeight: Pointer,
    dBias: Pointer,
    dOut: Pointer,
    x: Pointer,
    mean: Pointer,
    rstd: Pointer,
    weight: Pointer,
    rows: number,
    width: number,
  ): void;
  geluForwardF32(out: Pointer, x: Pointer, length: number): void;
  geluBackwardF32(dX: Pointer, dOut: Pointer, x: Pointer, length: number): void;
  attentionScratchBytes(length: number, headWidth: number): number;
  attentionForwardF32(
    out: Pointer,
    logSumExp: Pointer,
    qkv: Pointer,
    scratch: Pointer,
    sequences: number,
    length: number,
    heads: number,
    headWidth: number,
  ): void;
  attentionBackwardF32(
    dQkv: Pointer,
    dOut: Pointer,
    qkv: Pointer,
    logSumExp: Pointer,
    scratch: Pointer,
    sequences: number,
    length: number,
    heads: number,
    headWidth: number,
  ): void;
  softmaxCrossEntropyForwardF32(
    logSumExp: Pointer,
    logits: Pointer,
    targets: Pointer,
    rows: number,
    vocabulary: number,
  ): number;
  softmaxCrossEntropyBackwardF32(
    dLogits: Pointer,
    logits: Pointer,
    logSumExp: Pointer,
    targets: Pointer,
    rows: number,
    vocabulary: number,
    gradientScale: number,
  ): void;

  packEden(
    panel: Pointer,
    source: Pointer,
    rows: number,
    k: number,
    rowStride: number,
    kStride: number,
    side: number,
    signs: Pointer,
    scratch: Pointer,
  ): void;

  // Orthogonalization
  gramInt6(
    out: Pointer,
    a: Pointer,
    b: Pointer,
    zeros: Pointer,
    n: number,
    k: number,
    accumulating: number,
  ): void;
  splitDiagonalF32(diagonal: Pointer, a: Pointer, n: number): void;
  newtonSchulzF32(
    a: Pointer,
    square: Pointer,
    diagonal: Pointer,
    n: number,
    factor: number,
    b: number,
    c: number,
  ): void;
  scaleRowsF32(
    x: Pointer,
    factors: Pointer,
    added: Pointer,
    rows: number,
    columns: number,
  ): void;
};
