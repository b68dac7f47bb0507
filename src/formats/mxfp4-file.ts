/**
 * Whole files to MXFP4 and back.
 *
 * The output's metadata records every choice under `mxfp4.*`, so decoding it needs nothing else:
 *
 *   mxfp4.version                 "1"
 *   mxfp4.layout                  "gpt-oss"
 *   mxfp4.rounding, .scale, .prescale, .hadamard, .seed, .include, .exclude   as they were asked for
 *   mxfp4.tensor.<x>              {"dtype", "shape", "position"} of the tensor before; there is one
 *                                 for each pair <x>_blocks, <x>_scales
 *   mxfp4.plain                   "false" where a reader of plain gpt-oss files gets other values,
 *   mxfp4.plain_reason            and why
 *   mxfp4.unbiased                "true" where E[decoded] is the input
 *   mxfp4.unbiased_reason         why it is not
 */
import { AppError } from "../api/errors.ts";
import { SCALE_RULES, SEGMENT_LENGTHS } from "../kernels/mxfp4.ts";
import { type FloatDtype, FLOAT_DTYPES, isFloat } from "./dtype.ts";
import {
  checkDivides,
  dequantizeTensor,
  packedShapes,
  quantizeTensor,
  ROUNDING_MODES,
  type Scheme,
} from "./mxfp4.ts";
import {
  compareNames,
  type Metadata,
  type SafetensorsFile,
  type Tensor,
  type TensorSource,
} from "./safetensors.ts";

export const LAYOUTS = ["gpt-oss"] as const;
export const PRESCALES = [1, 0.75] as const;
export const SEGMENT_CHOICES = [0, ...SEGMENT_LENGTHS] as const;

const PREFIX = "mxfp4.";
const TENSOR_PREFIX = "mxfp4.tensor.";
const VERSION = "1";

/** How two tensors are named that stand for one: as transformers writes them, and as OpenAI did. */
const SUFFIXES = [
  ["_blocks", "_scales"],
  [".blocks", ".scales"],
] as const;

/** Which tensors: names that match an `include` pattern, or all if there is none, and no `exclude`. */
export type Selection = {
  include: readonly string[];
  exclude: readonly string[];
};

type Output = { tensors: TensorSource[]; metadata: Metadata };

/**
 * Float tensors of at least one dimension become pairs; integer, 0-D and unselected ones pass
 * through byte for byte.
 * Errors: `shape_mismatch`, `unsupported_dtype`, `name_collision`
 */
export function quantizeFile(
  { tensors, metadata }: SafetensorsFile,
  scheme: Scheme,
  selection: Selection,
): Output {
  for (const key of metadata.keys()) {
    if (!key.startsWith(PREFIX)) continue;
    throw new AppError(
      "name_collision",
      `Expected a file that is not yet MXFP4, got metadata "${key}"; dequantize it first`,
    );
  }
  const chosen = tensors.filter((tensor) => isQuantized(tensor, selection));
  for (const { name, shape } of chosen)
    checkDivides(name, shape, scheme.hadamard);

  const positions = new Map(
    chosen
      .map(({ name }) => name)
      .toSorted(compareNames)
      .map((name, i) => [name, i]),
  );
  const written = new Map([...metadata, ...schemeMetadata(scheme, selection)]);
  const output: TensorSource[] = [];
  for (const tensor of tensors) {
    const { name, dtype, shape, bytes } = tensor;
    const position = positions.get(name);
    if (position === undefined) {
      output.push({ name, dtype, shape, chunks: [bytes] });
      continue;
    }
    const pair = quantizeTensor(
      bytes,
      dtype as FloatDtype,
      shape,
      scheme,
      position,
    );
    const shapes = packedShapes(shape);
    output.push(
      {
        name: `${name}_blocks`,
        dtype: "U8",
        shape: shapes.blocks,
        chunks: [pair.blocks],
      },
      {
        name: `${name}_scales`,
        dtype: "U8",
        shape: shapes.scales,
        chunks: [pair.scales],
      },
    );
    written.set(
      `${TENSOR_PREFIX}${name}`,
      JSON.stringify({ dtype, shape, position }),
    );
  }
  return { tensors: output, metadata: written };
}

/**
 * Every pair of blocks and scales becomes one tensor of `dtype`; the rest passes through. A file
 * without our metadata, such as a gpt-oss checkpoint, has its pairs found by name.
 * Errors: `malformed_body`, `shape_mismatch`, `unsupported_dtype`, `name_collision`
 */
export function dequantizeFile(
  { tensors, metadata }: SafetensorsFile,
  dtype: Exclude<FloatDtype, "F64">,
): Output {
  const ours = [...metadata.keys()].some((key) => key.startsWith(PREFIX));
  const scheme = ours ? readScheme(metadata) : PLAIN;
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const pairs = ours ? recordedPairs(metadata, byName) : pairsByName(byName);

  const output: TensorSource[] = [];
  const used = new Set<Tensor>();
  for (const { name, blocks, scales } of pairs) {
    checkPair(blocks, scales);
    const shape = [...scales.shape.slice(0, -1), scales.shape.at(-1)! * 32];
    checkDivides(name, shape, scheme.hadamard);
    const bytes = { blocks: blocks.bytes, scales: scales.bytes };
    output.push({
      name,
      dtype,
      shape,
      chunks: dequantizeTensor(bytes, dtype, scheme),
    });
    used.add(blocks).add(scales);
  }
  for (const tensor of tensors) {
    if (!used.has(tensor)) output.push({ ...tensor, chunks: [tensor.bytes] });
  }
  const kept = [...metadata].filter(([key]) => !key.startsWith(PREFIX));
  return { tensors: output, metadata: new Map(kept) };
}

function isQuantized(tensor: Tensor, { include, exclude }: Selection): boolean {
  const { name, dtype, shape } = tensor;
  const selected =
    (include.length === 0 ||
      include.some((pattern) => matches(pattern, name))) &&
    !exclude.some((pattern) => matches(pattern, name));
  if (!selected || shape.length === 0) return false;
  if (isFloat(dtype)) return true;
  if (!/^[FC]/.test(dtype)) return false;
  throw new AppError(
    "unsupported_dtype",
    `Expected float tensors of ${FLOAT_DTYPES.join(", ")} to quantize, got tensor "${name}" of ${dtype}; \`exclude\` lets it pass through`,
  );
}

/** Whether `pattern` is all of `name`: `*` stands for any characters, `?` for one. */
function matches(pattern: string, name: string): boolean {
  // Only the last star is ever tried again, which finds a match if there is one, in linear memory
  // and without a regular expression's exponential cases.
  let [p, n, star, retry] = [0, 0, -1, 0];
  while (n < name.length) {
    if (pattern[p] === "*") {
      star = p++;
      retry = n;
    } else if (pattern[p] === "?" || pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

function schemeMetadata(
  scheme: Scheme,
  { include, exclude }: Selection,
): [string, string][] {
  const notPlain = [
    ...(scheme.prescale === 1
      ? []
      : ["values were multiplied by 3/4: multiply by 4/3"]),
    ...(scheme.hadamard === 0
      ? []
      : [
          `segments of ${scheme.hadamard} were rotated: apply the inverse RHT of the seed`,
        ]),
  ];
  const biased =
    scheme.rounding !== "stochastic"
      ? "nearest rounding"
      : scheme.scale === "floor" && scheme.prescale === 1
        ? "magnitudes above 6 times their scale are clipped"
        : undefined;
  const pairs: [string, string | undefined][] = [
    ["version", VERSION],
    ["layout", LAYOUTS[0]],
    ["rounding", scheme.rounding],
    ["scale", scheme.scale],
    ["prescale", `${scheme.prescale}`],
    ["hadamard", `${scheme.hadamard}`],
    ["seed", `${scheme.seed}`],
    ["include", include.length > 0 ? JSON.stringify(include) : undefined],
    ["exclude", exclude.length > 0 ? JSON.stringify(exclude) : undefined],
    ["plain", `${notPlain.length === 0}`],
    ["plain_reason", notPlain.length > 0 ? notPlain.join("; ") : undefined],
    ["unbiased", `${biased === undefined}`],
    ["unbiased_reason", biased],
  ];
  return pairs.flatMap(([key, value]) =>
    value === undefined ? [] : [[PREFIX + key, value]],
  );
}

const PLAIN = { prescale: 1, hadamard: 0, seed: 0 } as const;

/** What `schemeMetadata` wrote; the parts that decoding needs. */
function readScheme(
  metadata: Metadata,
): Pick<Scheme, "prescale" | "hadamard" | "seed"> {
  readChoice(metadata, "version", [VERSION]);
  readChoice(metadata, "layout", LAYOUTS);
  readChoice(metadata, "rounding", ROUNDING_MODES);
  readChoice(metadata, "scale", SCALE_RULES);
  const seed = metadata.get(`${PREFIX}seed`) ?? "";
  if (!/^\d{1,16}$/.test(seed) || !Number.isSafeInteger(Number(seed))) {
    throw malformed("seed", "a whole number from 0 to 2^53 − 1", seed);
  }
  return {
    prescale: readChoice(metadata, "prescale", PRESCALES),
    hadamard: readChoice(metadata, "hadamard", SEGMENT_CHOICES),
    seed: Number(seed),
  };
}

function readChoice<T extends string | number>(
  metadata: Metadata,
  key: string,
  choices: readonly T[],
): T {
  const value = metadata.get(PREFIX + key);
  const choice = choices.find((each) => `${each}` === value);
  if (choice === undefined) throw malformed(key, choices.join(" or "), value);
  return choice;
}

type Pair = { name: string; blocks: Tensor; scales: Tensor };

function recordedPairs(
  metadata: Metadata,
  byName: ReadonlyMap<string, Tensor>,
): Pair[] {
  const pairs: Pair[] = [];
  for (const [key, record] of metadata) {
    if (!key.startsWith(TENSOR_PREFIX)) continue;
    const name = key.slice(TENSOR_PREFIX.length);
    const blocks = byName.get(`${name}_blocks`);
    const scales = byName.get(`${name}_scales`);
    if (!blocks || !scales) {
      throw malformed(
        `tensor.${name}`,
        `tensors "${name}_blocks" and "${name}_scales"`,
        "none",
      );
    }
    const expected = [
      ...scales.shape.slice(0, -1),
      (scales.shape.at(-1) ?? 0) * 32,
    ];
    if (!isRecordOf(record, expected)) {
      throw malformed(
        `tensor.${name}`,
        `a shape of [${expected.join(", ")}]`,
        record,
      );
    }
    pairs.push({ name, blocks, scales });
  }
  return pairs;
}

/** Whether a `mxfp4.tensor.*` record has this shape. */
function isRecordOf(record: string, shape: readonly number[]): boolean {
  try {
    const value = JSON.parse(record) as { shape?: unknown } | null;
    return JSON.stringify(value?.shape) === JSON.stringify(shape);
  } catch {
    return false; // not JSON, so not a record
  }
}

function pairsByName(byName: ReadonlyMap<string, Tensor>): Pair[] {
  const pairs: Pair[] = [];
  for (const [blocksName, blocks] of byName) {
    for (const [blocksSuffix, scalesSuffix] of SUFFIXES) {
      if (!blocksName.endsWith(blocksSuffix)) continue;
      const name = blocksName.slice(0, -blocksSuffix.length);
      const scales = byName.get(name + scalesSuffix);
      if (scales) pairs.push({ name, blocks, scales });
    }
  }
  return pairs;
}

function checkPair(blocks: Tensor, scales: Tensor): void {
  for (const { name, dtype } of [blocks, scales]) {
    if (dtype !== "U8") {
      throw new AppError(
        "unsupported_dtype",
        `Expected tensor "${name}" to be U8, got ${dtype}`,
      );
    }
  }
  const expected = [...scales.shape, 16];
  if (scales.shape.length === 0 || blocks.shape.join() !== expected.join()) {
    throw new AppError(
      "shape_mismatch",
      `Expected tensor "${blocks.name}" to be [${expected.join(", ")}], because "${scales.name}" is [${scales.shape.join(", ")}], got [${blocks.shape.join(", ")}]`,
    );
  }
}

function malformed(
  key: string,
  expected: string,
  got: string | undefined,
): AppError {
  return new AppError(
    "malformed_body",
    `Expected metadata "${PREFIX}${key}" to be ${expected}, got ${got === undefined ? "nothing" : `"${got.slice(0, 80)}"`}`,
  );
}
