/** `mxfp4-edge dequantize DIRECTORY`: what was written for a loader becomes the model's own tensors again. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  count,
  expected,
  models,
  tensorsOf,
  valuesOf,
  writeModel,
} from "../support/model-directories.ts";

const ROOT = resolve(import.meta.dirname, "../..");

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-dequantize-directory-test-"));
  for (const model of ["llama", "gpt2", "gpt_oss"])
    writeModel(at(model), model, 1);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function edge(command: string, from: string, out: string, ...args: string[]) {
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, "src/cli/main.ts"), command, at(from), "-o", at(out), ...args],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stderr };
}

/** Of a tensor [.., in, out], the values of [.., out, in]. */
function turnedBack(values: number[], shape: readonly number[]): number[] {
  const [ins, outs] = shape.slice(-2) as [number, number];
  return values.map((_, i) => {
    const matrix = Math.floor(i / (ins * outs));
    const [row, column] = [Math.floor(i / outs) % ins, i % outs];
    return values[(matrix * outs + column) * ins + row]!;
  });
}

const configOf = (out: string): unknown =>
  JSON.parse(readFileSync(join(at(out), "config.json"), "utf8"));

test.each([
  ["llama", "vllm"],
  ["llama", "quark"],
  ["llama", "mlx"],
  ["gpt2", "vllm"],
  ["gpt_oss", "transformers"],
  ["gpt_oss", "vllm"],
])(
  "%s, written for %s, has its names, shapes and config back",
  (model, loader) => {
    const packed = `${model}-${loader}`;
    const out = `${packed}-floats`;
    const options = ["--for", loader, "--scale", "floor"];
    expect(edge("quantize", model, packed, ...options)).toMatchObject({
      status: 0,
    });
    expect(edge("dequantize", packed, out)).toMatchObject({ status: 0 });
    const [tensors, blocks] = [tensorsOf(at(out)), tensorsOf(at(packed))];
    const listed = models[model]!.tensors;
    expect([...tensors.keys()].toSorted()).toEqual(
      listed.map(({ name }) => name).toSorted(),
    );
    let decoded = 0;
    for (const each of listed) {
      const { name, shape, role } = each;
      const { dtype, bytes, shape: own } = tensors.get(name)!;
      expect({ name, dtype, shape: own }).toEqual({
        name,
        dtype: "F32",
        shape,
      });
      const values = [...new Float32Array(bytes.slice().buffer)];
      if (blocks.get(name)?.dtype === "F32") {
        expect(values, name).toEqual([...valuesOf(name, count(shape))]);
        continue;
      }
      decoded++;
      const whole = expected(each);
      expect(values, name).toEqual(
        role === "linear" ? whole : turnedBack(whole, shape),
      );
    }
    expect(decoded).toBeGreaterThan(3);
    expect(configOf(out)).toEqual(configOf(model));
    expect(existsSync(join(at(out), "tokenizer.json"))).toBe(true);
    expect(readFileSync(join(at(out), "README.md"), "utf8")).toContain(
      "in F32",
    );
  },
);

test("in files of any size and dtype", () => {
  const cut = ["--for", "vllm", "--max-shard-size", "70KB"];
  edge("quantize", "llama", "cut", ...cut);
  edge("quantize", "llama", "whole", "--for", "vllm");
  const sized = ["--dtype", "bf16", "--max-shard-size", "90KB"];
  expect(edge("dequantize", "cut", "small", ...sized)).toMatchObject({
    status: 0,
  });
  expect(edge("dequantize", "whole", "one", "--dtype", "bf16")).toMatchObject({
    status: 0,
  });
  const [small, one] = [tensorsOf(at("small")), tensorsOf(at("one"))];
  expect([...small.keys()].toSorted()).toEqual([...one.keys()].toSorted());
  for (const [name, tensor] of one)
    expect(small.get(name), name).toEqual(tensor);
  const { dtype } = one.get("model.layers.0.mlp.up_proj.weight")!;
  expect(dtype).toBe("BF16");
  const files = readdirSync(at("small")).filter((name) =>
    name.endsWith(".safetensors"),
  );
  expect(files.length).toBeGreaterThan(2);
  const index = JSON.parse(
    readFileSync(join(at("small"), "model.safetensors.index.json"), "utf8"),
  ) as { metadata: { total_size: number }; weight_map: object };
  const bytes = [...small.values()].reduce(
    (n, each) => n + each.bytes.length,
    0,
  );
  expect(index.metadata.total_size).toBe(bytes);
  expect(Object.keys(index.weight_map)).toHaveLength(small.size);
});

test("a directory without blocks is refused, and nothing is left", () => {
  const before = readdirSync(folder);
  const refused = edge("dequantize", "llama", "refused");
  expect(refused.stderr).toContain(
    "Expected tensors in MXFP4, MXFP8 or FP8 to decode, got none: the directory holds F32",
  );
  expect(refused.status).toBe(1);
  expect(readdirSync(folder)).toEqual(before);
});

test("a file that tells how it was quantized is not read by its names alone", () => {
  writeModel(at("recorded"), "llama", 1);
  const file = join("recorded", "model.safetensors");
  const rotated = edge("quantize", file, "rotated", "--hadamard", "32");
  expect(rotated).toMatchObject({ status: 0 });
  writeFileSync(at(file), readFileSync(at("rotated")));
  const refused = edge("dequantize", "recorded", "misread");
  expect(refused.stderr).toContain("got model.safetensors, which tells how");
  expect(refused.status).toBe(1);
});
