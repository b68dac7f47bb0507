/**
 * The directories that transformers saved, each made for its loaders, decoded again, and its blocks taken around the
 * circle of layouts: one digest of what they decode to, wherever they are.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Layout } from "../../src/api/scheme.ts";
import type { Target } from "../../src/api/scheme.ts";
import type { FolderRequest } from "../../src/checkpoints/folder-request.ts";
import { readFolder } from "../../src/checkpoints/read-heads.ts";
import { convertDirectory } from "../../src/cli/convert-directory.ts";
import { localFolder } from "../../src/cli/ranged-files.ts";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import { planDequantize } from "../../src/formats/operations/dequantize-file.ts";
import { planRepack } from "../../src/formats/operations/repack-file.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import { convert } from "../support/files.ts";
import "../support/kernels-node.ts";

const FIXTURES = join(import.meta.dirname, "../fixtures/hf");
/** Their circle begins with the layout that the loader has. */
const LAYOUTS: Layout[] = [
  "compressed-tensors",
  "quark",
  "ggml",
  "mlx",
  "openai",
  "deepseek",
  "f4",
  "gpt-oss",
];
/** Both have names for weights alone, which gpt-oss's experts are not called. */
const OF_WEIGHTS: Layout[] = ["mlx", "deepseek"];
const OWN: Record<Target, Layout> = {
  vllm: "compressed-tensors",
  transformers: "gpt-oss",
  mlx: "mlx",
  quark: "quark",
};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-golden-directories-"));
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

const fileOf = (path: string) =>
  new Uint8Array(readFileSync(join(path, "model.safetensors")));

function tensorsOf(file: Uint8Array): Map<string, Tensor> {
  const { tensors } = readSafetensors(file);
  return new Map(tensors.map((tensor) => [tensor.name, tensor]));
}

/** Of all tensors' names, shapes and values, whatever the file's layout and order. */
async function digest(file: Uint8Array): Promise<string> {
  const decoded = await convert(file, (each) => planDequantize(each, "F32"));
  return hashOf(tensorsOf(decoded));
}

function hashOf(tensors: Iterable<[string, Tensor]>): string {
  const hash = createHash("sha256");
  const sorted = [...tensors].toSorted(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, { dtype, shape, bytes }] of sorted)
    hash.update(JSON.stringify([name, dtype, shape])).update(bytes);
  return hash.digest("hex");
}

const converted = async (from: string, to: string, request: FolderRequest) =>
  convertDirectory({
    from,
    to,
    force: false,
    checkpoint: await readFolder(localFolder(from)),
    request,
  });

function directoryTensors(path: string): [string, Tensor][] {
  return readdirSync(path)
    .filter(
      (file) => file.endsWith(".safetensors") && file !== "logits.safetensors",
    )
    .flatMap((file) => [
      ...tensorsOf(new Uint8Array(readFileSync(join(path, file)))),
    ]);
}

/** What the index says, and what the files hold. */
function indexOf(path: string) {
  const { metadata, weight_map } = JSON.parse(
    readFileSync(join(path, "model.safetensors.index.json"), "utf8"),
  ) as { metadata: { total_size: number }; weight_map: Record<string, string> };
  const files = new Set(Object.values(weight_map)).size;
  const names = Object.keys(weight_map).toSorted();
  return { bytes: metadata.total_size, names, isCut: files > 1 };
}
function storedIn(path: string) {
  const tensors = directoryTensors(path);
  const bytes = tensors.reduce(
    (sum, [, tensor]) => sum + tensor.bytes.length,
    0,
  );
  const names = tensors.map(([name]) => name).toSorted();
  return { bytes, names, isCut: true };
}

const floats = ({ bytes }: Tensor) => new Float32Array(bytes.slice().buffer);
const power = (x: Float32Array) =>
  x.reduce((sum, value) => sum + value * value, 0);

const MADE: [model: string, targets: Target[], packed: number][] = [
  ["gpt2", ["vllm"], 8],
  ["llama", ["vllm", "quark", "mlx"], 14],
  ["gpt_oss", ["transformers", "vllm", "mlx"], 4],
];

describe.each(MADE)("%s", (model, targets, packed) => {
  const digests = new Map<string, string>();

  test.each(targets)(
    "for %s, and back, and around the circle",
    async (target) => {
      const [from, to, back] = [
        join(FIXTURES, model),
        join(folder, `${model}-${target}`),
        join(folder, `${model}-${target}-floats`),
      ];
      await quantizeDirectory({
        from,
        to,
        asJson: false,
        force: false,
        withFigures: false,
        options: { for: target },
      });
      await convertDirectory({
        from: to,
        to: back,
        force: false,
        checkpoint: await readFolder(localFolder(to)),
        request: { operation: "dequantize" },
      });
      const before = tensorsOf(fileOf(from));
      const after = tensorsOf(fileOf(back));
      expect([...after.keys()].toSorted()).toEqual(
        [...before.keys()].toSorted(),
      );
      const changed = [...before].filter(([name, { bytes, shape }]) => {
        const own = after.get(name)!;
        expect(own.shape, name).toEqual(shape);
        return !Buffer.from(own.bytes).equals(Buffer.from(bytes));
      });
      expect(changed).toHaveLength(packed);
      for (const [name, tensor] of changed) {
        const [x, y] = [floats(tensor), floats(after.get(name)!)];
        const noise = power(x.map((value, i) => value - y[i]!));
        // What four bits lose of normal draws; along a wrong axis, or turned wrongly, nothing would be left.
        expect(10 * Math.log10(power(x) / noise), name).toBeGreaterThan(17);
      }
      const config = (path: string): unknown =>
        JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
      expect(config(back)).toEqual(config(from));

      const start = fileOf(to);
      const expected = await digest(start);
      digests.set(target, expected);
      const own: Layout = model === "gpt_oss" ? "gpt-oss" : OWN[target];
      const others = LAYOUTS.filter(
        (layout) =>
          layout !== own &&
          !(OF_WEIGHTS.includes(layout) && model === "gpt_oss"),
      );
      let file = start;
      for (const layout of [...others, own]) {
        file = await convert(file, (each) => planRepack(each, layout));
        expect(await digest(file), layout).toBe(expected);
      }
      expect(hashOf(tensorsOf(file))).toBe(hashOf(tensorsOf(start)));

      // The same as directories, whose floats are those of the loader's.
      let at = to;
      for (const layout of [...others, own]) {
        const next = `${to}-${layout}`;
        await converted(at, next, {
          operation: "repack",
          options: { to: layout, maxShardSize: 90_000 },
        });
        await converted(next, `${next}-floats`, { operation: "dequantize" });
        const floats = tensorsOf(fileOf(`${next}-floats`));
        expect(hashOf(floats), layout).toBe(hashOf(after));
        expect(config(`${next}-floats`)).toEqual(config(from));
        expect(indexOf(next)).toEqual(storedIn(next));
        at = next;
      }
      expect(hashOf(directoryTensors(at))).toBe(hashOf(tensorsOf(start)));
      expect(config(at)).toEqual(config(to));
      const digestsOf = (path: string) =>
        readFileSync(join(path, "README.md"), "utf8").match(/`[0-9a-f]{64}`/g);
      expect(digestsOf(at)).toEqual(digestsOf(to));
      expect(digestsOf(at)).toHaveLength(packed);
    },
  );

  test("what is packed is the same for all of them", () => {
    expect(digests.size).toBe(targets.length);
    expect(new Set(digests.values()).size).toBe(1);
  });
});
