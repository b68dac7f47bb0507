/**
 * `mxfp4-edge quantize DIRECTORY --for LOADER --rotate fold`: the rotated model computes what it did, in
 * floats, and its packed weights are the reference quantizer's of those floats.
 */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { llamaLogits } from "../reference/llama.ts";
import { dequantizeMxfp4, quantizeMxfp4 } from "../reference/mxfp4.ts";
import { Golden } from "../support/golden.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const LLAMA = join(import.meta.dirname, "../fixtures/hf/llama");
const golden = new Golden("hf/llama/model.safetensors");
const tokens = new Golden("hf/llama/logits.safetensors").i32("tokens");
const config = JSON.parse(
  readFileSync(join(LLAMA, "config.json"), "utf8"),
) as Record<string, unknown>;

type Weights = Map<string, Float32Array>;
const shapes = new Map(
  golden.names().map((name) => [name, golden.shape(name)]),
);
/** The fixture's norms are all ones; these are not. */
const weights: Weights = new Map(
  golden.names().map((name) => {
    const x = golden.f32(name);
    return [
      name,
      name.includes("norm") ? x.map((_, i) => 0.5 + (i % 7) / 4) : x,
    ];
  }),
);
const HEAD = "lm_head.weight";
const TABLE = "model.embed_tokens.weight";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-fold-test-"));
  write("llama", weights, config);
  const tied = new Map(weights);
  tied.delete(HEAD);
  write("tied", tied, { ...config, tie_word_embeddings: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(model: string, all: Weights, itsConfig: object): void {
  mkdirSync(join(folder, model));
  let at = 0;
  const header = Object.fromEntries(
    Array.from(all, ([name, { byteLength }]) => {
      const start = at;
      at += byteLength;
      const data_offsets = [start, at];
      return [name, { dtype: "F32", shape: shapes.get(name), data_offsets }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const data = Array.from(all.values(), (x) => Buffer.from(x.slice().buffer));
  writeFileSync(
    join(folder, model, "model.safetensors"),
    Buffer.concat([length, json, ...data]),
  );
  writeFileSync(join(folder, model, "config.json"), JSON.stringify(itsConfig));
}

function quantize(model: string, out: string, ...args: string[]) {
  const command = ["quantize", join(folder, model), "-o", join(folder, out)];
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, "src/cli/main.ts"), ...command, "--scale", "even", ...args],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stderr };
}

function tensorsOf(out: string): Map<string, Tensor> {
  const path = join(folder, out);
  const files = readdirSync(path).filter((name) =>
    name.endsWith(".safetensors"),
  );
  return new Map(
    files.flatMap((file) =>
      readSafetensors(
        new Uint8Array(readFileSync(join(path, file))),
      ).tensors.map((tensor) => [tensor.name, tensor] as const),
    ),
  );
}

function floats({ bytes }: Tensor): Float32Array {
  return new Float32Array(bytes.slice().buffer);
}

const configOf = (out: string) =>
  JSON.parse(readFileSync(join(folder, out, "config.json"), "utf8")) as Record<
    string,
    unknown
  >;

const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** The weights of a directory for vLLM, as it decodes them. */
function decoded(out: string): Weights {
  const tensors = tensorsOf(out);
  return new Map(
    Array.from(tensors, ([name, tensor]): [string, Float32Array] => {
      if (tensor.dtype === "F32") return [name, floats(tensor)];
      const stem = name.replace(/_(packed|scale)$/, "");
      const elements = tensors.get(`${stem}_packed`)!.bytes;
      const scales = tensors.get(`${stem}_scale`)!.bytes;
      const x = Float32Array.from({ length: 2 * elements.length }, (_, i) => {
        const code = (elements[i >> 1]! >> (4 * (i & 1))) & 15;
        const value = E2M1[code & 7]! * 2 ** (scales[i >> 5]! - 127);
        return code & 8 ? -value : value;
      });
      return [stem, x];
    }),
  );
}

const run = (own: Weights) =>
  llamaLogits(config as never, (name) => own.get(name), tokens.subarray(0, 24));

/** Root mean square of the logits' difference from the original's, over that of the original's. */
function difference(own: Weights, original: Weights = weights): number {
  const [x, y] = [original, own].map((each) =>
    run(each).flatMap((row) => [...row]),
  ) as [number[], number[]];
  const power = (values: number[]) => values.reduce((sum, v) => sum + v * v, 0);
  return Math.sqrt(power(x.map((value, i) => value - y[i]!)) / power(x));
}

const FLOATS = ["--for", "transformers", "--rotate", "fold", "--seed", "7"];
const PACKED = ["--for", "vllm", "--rotate", "fold", "--seed", "7"];

test("nothing packed, the rotated model computes what it did", () => {
  expect(quantize("llama", "floats", ...FLOATS)).toMatchObject({ status: 0 });
  const rotated = new Map(
    Array.from(tensorsOf("floats"), ([name, own]) => [name, floats(own)]),
  );
  expect([...rotated.keys()].toSorted()).toEqual(
    [...weights.keys()].toSorted(),
  );
  for (const [name, x] of rotated)
    expect(x, name).not.toEqual(weights.get(name));
  expect(difference(rotated)).toBeLessThan(1e-5);
  expect(configOf("floats")).toEqual(config);
});

test("packed weights are the reference's of the rotated floats, in files of any size", () => {
  quantize("llama", "rotated", ...FLOATS);
  expect(quantize("llama", "packed", ...PACKED)).toMatchObject({ status: 0 });
  const packed = decoded("packed");
  let count = 0;
  for (const [name, own] of tensorsOf("rotated")) {
    const x = floats(own);
    const isPacked = name.includes("proj");
    if (isPacked) count++;
    const expected = isPacked
      ? Float32Array.from(
          dequantizeMxfp4(quantizeMxfp4(x, { ties: "even" }, "even", 1), 1),
        )
      : x;
    expect(packed.get(name), name).toEqual(expected);
  }
  expect(count).toBe(14);
  // Four bits lose something; a rotation that one side does not undo loses everything.
  expect(quantize("llama", "plain", "--for", "vllm")).toMatchObject({
    status: 0,
  });
  const loss = difference(decoded("plain"));
  expect(difference(packed)).toBeGreaterThan(1e-3);
  expect(difference(packed)).toBeLessThan(1.2 * loss);
  const card = readFileSync(join(folder, "packed/README.md"), "utf8");
  expect(card).toContain("drawn from seed 7");

  const many = [...PACKED, "--max-shard-size", "90KB"];
  expect(quantize("llama", "many", ...many)).toMatchObject({ status: 0 });
  const one = tensorsOf("packed");
  const cut = tensorsOf("many");
  expect([...cut.keys()].toSorted()).toEqual([...one.keys()].toSorted());
  for (const [name, tensor] of one) expect(cut.get(name), name).toEqual(tensor);
});

/** By tensor, what README.md says. */
function sqnrOf(out: string): Map<string, number> {
  const card = readFileSync(join(folder, out, "README.md"), "utf8");
  const rows = card.matchAll(/^\| `(.+?)` \| .+? \| ([\d.]+) \|/gm);
  return new Map(Array.from(rows, ([, name, db]) => [name!, Number(db)]));
}

test("channels that are larger than the others cost less", () => {
  const outliers = new Map(
    Array.from(weights, ([name, x]) => [
      name,
      /[qkv]_proj|gate_proj|up_proj/.test(name)
        ? x.map((value, i) => (i % 16 === 3 ? 8 * value : value))
        : name.includes("norm")
          ? x.map(() => 1)
          : x,
    ]),
  );
  write("outliers", outliers, config);
  const plain = ["--for", "vllm", "--figures"];
  expect(quantize("outliers", "even", ...plain)).toMatchObject({ status: 0 });
  const fold = [...plain, "--rotate", "fold"];
  expect(quantize("outliers", "folded", ...fold)).toMatchObject({ status: 0 });
  const [before, after] = [sqnrOf("even"), sqnrOf("folded")];
  expect(before.size).toBe(14);
  for (const [name, db] of before) {
    const gain = after.get(name)! - db;
    // What writes to the stream had no outliers to lose.
    const isReader = !/o_proj|down_proj/.test(name);
    expect(gain, name).toBeGreaterThan(isReader ? 3 : -0.3);
    expect(gain, name).toBeLessThan(isReader ? 5 : 0.3);
  }
});

test("another seed is another rotation, and noise goes with the rotated values", () => {
  const noisy = [...PACKED.slice(0, -1), "8", "--rounding", "stochastic"];
  expect(quantize("llama", "noisy", ...noisy)).toMatchObject({ status: 0 });
  expect(difference(decoded("noisy"))).toBeLessThan(0.6);
  const [own, other] = [tensorsOf("noisy"), tensorsOf("packed")];
  expect(own.get(TABLE)!.bytes).not.toEqual(other.get(TABLE)!.bytes);
});

test("a tied head comes apart", () => {
  const same = new Map(weights).set(HEAD, weights.get(TABLE)!);
  expect(quantize("tied", "apart", ...FLOATS)).toMatchObject({ status: 0 });
  const rotated = new Map(
    Array.from(tensorsOf("apart"), ([name, own]) => [name, floats(own)]),
  );
  expect(rotated.get(HEAD)).not.toEqual(rotated.get(TABLE));
  expect(difference(rotated, same)).toBeLessThan(1e-5);
  expect(configOf("apart")).toEqual({ ...config, tie_word_embeddings: false });
});

test("Gemma's norms, which are kept less 1, are left at 0", () => {
  const less = new Map(
    Array.from(weights, ([name, x]) => [
      name,
      name.includes("norm") ? x.map((weight) => weight - 1) : x,
    ]),
  );
  write("gemma", less, { ...config, model_type: "gemma" });
  expect(quantize("gemma", "gemma-rotated", ...FLOATS)).toMatchObject({
    status: 0,
  });
  const rotated = new Map(
    Array.from(tensorsOf("gemma-rotated"), ([name, own]) => [
      name,
      name.includes("norm") ? floats(own).map((x) => x + 1) : floats(own),
    ]),
  );
  expect(difference(rotated)).toBeLessThan(1e-5);
});

test("in the dtype that a tensor has", () => {
  const half = join(folder, "half");
  mkdirSync(half);
  const x = new Uint16Array(weights.get(TABLE)!.length).fill(0x3f80);
  const bytes = new Uint8Array(
    readFileSync(join(folder, "llama/model.safetensors")),
  );
  const { tensors } = readSafetensors(bytes);
  const parts = tensors.map(({ name, shape, bytes: own }) =>
    name === TABLE
      ? { name, dtype: "BF16", shape, bytes: new Uint8Array(x.buffer) }
      : { name, dtype: "F32", shape, bytes: own },
  );
  let at = 0;
  const header = Object.fromEntries(
    parts.map(({ name, dtype, shape, bytes: { length } }) => {
      const start = at;
      at += length;
      return [name, { dtype, shape, data_offsets: [start, at] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(
    join(half, "model.safetensors"),
    Buffer.concat([length, json, ...parts.map((part) => part.bytes)]),
  );
  writeFileSync(join(half, "config.json"), JSON.stringify(config));
  expect(quantize("half", "half-rotated", ...FLOATS)).toMatchObject({
    status: 0,
  });
  const rotated = tensorsOf("half-rotated").get(TABLE)!;
  expect(rotated).toMatchObject({ dtype: "BF16", shape: shapes.get(TABLE) });
  // A segment of ones is one of sums of signs over √32: its squares still sum to 32.
  const segment = Array.from(
    new Uint16Array(rotated.bytes.slice().buffer).subarray(0, 32),
    (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!,
  );
  const power = segment.reduce((sum, value) => sum + value * value, 0);
  expect(power).toBeGreaterThan(31);
  expect(power).toBeLessThan(33);
  expect(new Set(segment).size).toBeGreaterThan(1);
});

test.each([
  [
    "a model whose norms are not RMS norms",
    { ...config, rms_norm_eps: undefined },
    "Expected a config.json with `rms_norm_eps` to fold a rotation",
  ],
])("%s is refused, and nothing is left", (_, itsConfig, message) => {
  write("other", weights, itsConfig);
  const before = readdirSync(folder);
  const refused = quantize("other", "refused", ...PACKED);
  expect(refused.stderr).toContain(message);
  expect(refused.stderr).not.toMatch(/\n +at /);
  expect(refused.status).toBe(1);
  expect(readdirSync(folder)).toEqual(before);
});

test("of a file, which is no model", () => {
  const file = "llama/model.safetensors";
  const refused = quantize(file, "file", "--rotate", "fold");
  expect(refused.stderr).toContain("Expected a model's directory");
  expect(refused.status).toBe(2);
});
