/**
 * `mxfp4-edge quantize DIRECTORY --for LOADER`, read as each loader reads it: its names, its bytes, its
 * orientation. The readers here are written from the loaders' sources (docs/compatibility.md).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { Tensor } from "../../src/formats/tensor.ts";
import {
  count,
  expected,
  models,
  tensorsOf as directoryTensors,
  valuesOf,
  writeModel,
} from "../support/model-directories.ts";

const ROOT = resolve(import.meta.dirname, "../..");
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-directory-test-"));
  for (const model of ["llama", "gpt2", "gpt_oss"]) {
    writeModel(join(folder, model), model, 1);
    writeModel(join(folder, `${model}-cut`), model, 3);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function quantize(model: string, out: string, ...args: string[]) {
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      join(ROOT, "src/cli/main.ts"),
      "quantize",
      join(folder, model),
      "-o",
      join(folder, out),
      "--scale",
      "floor",
      ...args,
    ],
    { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stderr };
}

const tensorsOf = (out: string) => directoryTensors(join(folder, out));

test("by a process that has Node's options for itself, which the thread of digests has none of", () => {
  const args = ["quantize", join(folder, "llama"), "--for", "mlx"];
  const made = (name: string, ...options: string[]) => {
    const to = ["-o", join(folder, name)];
    execFileSync(process.execPath, [...options, ...args, ...to], {
      stdio: "ignore",
    });
    return readFileSync(join(folder, name, "README.md"), "utf8");
  };
  const main = join(ROOT, "src/cli/main.ts");
  const script = `process.argv.splice(1, 0, "main"); await import(${JSON.stringify(main)})`;
  expect(made("typed", "--input-type=module", "--eval", script)).toBe(
    made("run", main),
  );
});

const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** Values of elements, low nibble first, and a scale for each 32. */
function decode(elements: Uint8Array, scales: Uint8Array): number[] {
  return Array.from({ length: 2 * elements.length }, (_, i) => {
    const code = (elements[i >> 1]! >> (4 * (i & 1))) & 15;
    const value = E2M1[code & 7]! * 2 ** (scales[i >> 5]! - 127);
    return code & 8 ? -value : value;
  });
}

type Read = (
  tensors: ReadonlyMap<string, Tensor>,
  name: string,
) => readonly [elements: Tensor | undefined, scales: Tensor | undefined];

const LOADERS: Record<string, { read: Read; dtype: string; models: string[] }> =
  {
    vllm: {
      read: (tensors, name) => [
        tensors.get(name.replace(/weight$/, "weight_packed")),
        tensors.get(name.replace(/weight$/, "weight_scale")),
      ],
      dtype: "U8",
      models: ["llama", "gpt2"],
    },
    quark: {
      read: (tensors, name) => [
        tensors.get(name),
        tensors.get(name.replace(/weight$/, "weight_scale")),
      ],
      dtype: "U8",
      models: ["llama"],
    },
    mlx: {
      read: (tensors, name) => [
        tensors.get(name),
        tensors.get(name.replace(/weight$/, "scales")),
      ],
      dtype: "U32",
      models: ["llama"],
    },
    transformers: {
      read: (tensors, name) => [
        tensors.get(`${name}_blocks`),
        tensors.get(`${name}_scales`),
      ],
      dtype: "U8",
      models: ["gpt_oss"],
    },
  };

describe.each(Object.entries(LOADERS))(
  "for %s",
  (loader, { read, dtype, models: taken }) => {
    test.each(taken)(
      "%s: what is packed has the reference's values, what is not its own bytes",
      (model) => {
        const out = `${model}-${loader}`;
        expect(quantize(model, out, "--for", loader)).toMatchObject({
          status: 0,
        });
        const tensors = tensorsOf(out);
        let packed = 0;
        for (const listed of models[model]!.tensors) {
          const { name, shape, role } = listed;
          const isTaken =
            loader === "transformers"
              ? role === "linear-in-out"
              : role !== "keep";
          if (!isTaken) {
            const values = valuesOf(name, count(shape));
            expect(tensors.get(name)).toMatchObject({ dtype: "F32", shape });
            expect(Buffer.from(tensors.get(name)!.bytes)).toEqual(
              Buffer.from(values.buffer),
            );
            continue;
          }
          packed++;
          const [elements, scales] = read(tensors, name);
          const outer = role === "linear" ? shape.at(-2)! : shape.at(-1)!;
          expect(elements).toMatchObject({ dtype });
          expect(elements!.shape[shape.length - 2]).toBe(outer);
          expect(count(scales!.shape)).toBe(count(shape) / 32);
          expect(decode(elements!.bytes, scales!.bytes)).toEqual(
            expected(listed),
          );
        }
        expect(packed).toBeGreaterThan(3);
        // Nothing but what the loader knows.
        expect(tensors.size).toBe(models[model]!.tensors.length + packed);
      },
    );
  },
);

describe("what a directory holds", () => {
  test("small files as they were, a card with the digests, and no other form of the weights", () => {
    expect(
      quantize(
        "llama",
        "whole",
        "--for",
        "vllm",
        "--exclude",
        "*.down_proj.*",
        "--figures",
      ),
    ).toMatchObject({ status: 0 });
    const path = join(folder, "whole");
    expect(readdirSync(path).toSorted()).toEqual([
      "README.md",
      "config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    const config = JSON.parse(
      readFileSync(join(path, "config.json"), "utf8"),
    ) as {
      quantization_config: { ignore: string[] };
    };
    expect(config.quantization_config.ignore).toEqual([
      "lm_head",
      "model.layers.0.mlp.down_proj",
      "model.layers.1.mlp.down_proj",
    ]);
    const card = readFileSync(join(path, "README.md"), "utf8");
    expect(card).toContain('- `exclude`: `["*.down_proj.*"]`');
    const tensors = tensorsOf("whole");
    const name = "model.layers.0.self_attn.q_proj";
    const digest = createHash("sha256")
      .update(tensors.get(`${name}.weight_packed`)!.bytes)
      .update(tensors.get(`${name}.weight_scale`)!.bytes)
      .digest("hex");
    const listed = models.llama!.tensors.find(
      (each) => each.name === `${name}.weight`,
    )!;
    const before = valuesOf(listed.name, count(listed.shape));
    const errors = expected(listed).map((y, i) => before[i]! - y);
    const power = (x: Iterable<number>) =>
      [...x].reduce((sum, value) => sum + value * value, 0);
    const sqnr = 10 * Math.log10(power(before) / power(errors));
    const most = Math.max(...errors.map(Math.abs));
    expect(card).toContain(
      `| \`${name}.weight\` | 64 × 64 | ${sqnr.toFixed(2)} | ${most.toPrecision(3)} | \`${digest}\` |`,
    );
  });

  test("each tensor starts at a multiple of its width, without fillers", () => {
    quantize("gpt2", "aligned", "--for", "vllm");
    const file = readFileSync(join(folder, "aligned/model.safetensors"));
    const length = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(
      file.subarray(8, 8 + length).toString(),
    ) as Record<string, { dtype?: string; data_offsets: [number, number] }>;
    expect(header.__metadata__).toEqual({ format: "pt" });
    for (const [name, { dtype, data_offsets: [start] = [0] }] of Object.entries(
      header,
    ))
      if (dtype === "F32") expect(start % 4, name).toBe(0);
  });
});

describe("however files are cut", () => {
  test.each([
    ["llama", "vllm"],
    ["gpt_oss", "transformers"],
  ])("%s: the bytes are the same, noise and all", (model, loader) => {
    const options = [
      "--for",
      loader,
      "--rounding",
      "stochastic",
      "--seed",
      "7",
    ];
    expect(quantize(model, `${model}-one`, ...options)).toMatchObject({
      status: 0,
    });
    const many = quantize(
      `${model}-cut`,
      `${model}-many`,
      ...options,
      "--max-shard-size",
      "100KB",
    );
    expect(many).toMatchObject({ status: 0 });
    const [one, cut] = [tensorsOf(`${model}-one`), tensorsOf(`${model}-many`)];
    expect([...cut.keys()].toSorted()).toEqual([...one.keys()].toSorted());
    for (const [name, tensor] of one)
      expect(cut.get(name), name).toEqual(tensor);
    const path = join(folder, `${model}-many`);
    const files = readdirSync(path).filter((file) =>
      file.endsWith(".safetensors"),
    );
    expect(files.length).toBeGreaterThan(1);
    const index = JSON.parse(
      readFileSync(join(path, "model.safetensors.index.json"), "utf8"),
    ) as {
      metadata: { total_size: number };
      weight_map: Record<string, string>;
    };
    const bytes = [...cut.values()].reduce(
      (sum, each) => sum + each.bytes.length,
      0,
    );
    expect(index.metadata.total_size).toBe(bytes);
    for (const file of files) {
      const { tensors } = readSafetensors(
        new Uint8Array(readFileSync(join(path, file))),
      );
      const own = tensors.reduce((sum, each) => sum + each.bytes.length, 0);
      expect(own).toBeLessThanOrEqual(100_000);
      for (const { name } of tensors) expect(index.weight_map[name]).toBe(file);
    }
    const other = quantize(
      model,
      `${model}-other`,
      ...options.slice(0, -1),
      "8",
    );
    expect(other).toMatchObject({ status: 0 });
    const differing = [...tensorsOf(`${model}-other`)].filter(
      ([name, tensor]) =>
        !Buffer.from(tensor.bytes).equals(Buffer.from(one.get(name)!.bytes)),
    );
    expect(differing.length).toBeGreaterThan(3);
  });
});

describe("--show", () => {
  function show(...args: string[]) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [
        join(ROOT, "src/cli/main.ts"),
        "quantize",
        join(folder, "llama"),
        "--show",
        ...args,
      ],
      { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
    );
    return { status, stdout, stderr };
  }

  test("says of each tensor what becomes of it and why, and writes nothing", () => {
    const before = readdirSync(folder);
    const options = ["--for", "vllm", "--exclude", "*.down_proj.*"];
    const { status, stdout } = show(...options, "--json");
    expect(status).toBe(0);
    const { tensors } = JSON.parse(stdout) as {
      tensors: { name: string; becomes: string | null; reason: string }[];
    };
    const { tensors: listed } = models.llama!;
    expect(tensors.map(({ name }) => name).toSorted()).toEqual(
      listed.map(({ name }) => name).toSorted(),
    );
    for (const { name, becomes, reason } of tensors) {
      const { role } = listed.find((each) => each.name === name)!;
      const isLeft = role === "keep" || name.includes("down_proj");
      expect(becomes, name).toBe(isLeft ? null : "compressed-tensors");
      expect(reason, name).not.toBe("");
      expect(reason.endsWith("not asked for"), name).toBe(
        role !== "keep" && name.includes("down_proj"),
      );
    }
    const table = show(...options)
      .stdout.trimEnd()
      .split("\n");
    expect(table).toHaveLength(1 + listed.length);
    expect(readdirSync(folder)).toEqual(before);
  });

  test.each([
    [
      "an output",
      ["--for", "vllm", "-o", "x"],
      "Expected no --output with --show",
    ],
    ["no loader", [], "this model can be made for vllm"],
  ])("with %s is refused", (_, args, message) => {
    const { status, stderr } = show(...args);
    expect(stderr).toContain(message);
    expect(status).toBe(2);
  });
});

describe("refused in a line, and nothing is left", () => {
  test.each([
    [
      "without a loader",
      "llama",
      [],
      2,
      "this model can be made for vllm, mlx, quark",
    ],
    [
      "a loader that takes none of it",
      "llama",
      ["--for", "transformers"],
      1,
      "got none",
    ],
    [
      "patterns that leave nothing",
      "llama",
      ["--for", "vllm", "--include", "*norm.weight"],
      1,
      "Expected a weight that vllm takes in MXFP4, got none",
    ],
    [
      "a pattern to include that names nothing",
      "llama",
      [
        "--for",
        "vllm",
        "--include",
        "*q_proj*,model.layer.0.mlp.up_proj.weight",
      ],
      1,
      '"model.layer.0.mlp.up_proj.weight", which matches none; the closest names are "model.layers.0.mlp.up_proj.weight", ',
    ],
    [
      "a pattern to exclude that names nothing",
      "llama",
      ["--for", "vllm", "--exclude", "lmhead*"],
      1,
      '"lmhead*", which matches none; the closest names are "lm_head.weight"',
    ],
    [
      "half of what runs as one",
      "llama",
      ["--for", "vllm", "--exclude", "*.1.self_attn.k_proj*"],
      1,
      "packed together or not at all",
    ],
    [
      "a rotation",
      "llama",
      ["--for", "vllm", "--hadamard", "64"],
      1,
      "Expected prescale=1 and hadamard=0",
    ],
    [
      "a layout",
      "llama",
      ["--for", "vllm", "--layout", "gpt-oss"],
      2,
      "Expected no --layout of a directory",
    ],
    [
      "files too small",
      "llama",
      ["--for", "vllm", "--max-shard-size", "10KB"],
      1,
      'Expected files that hold the 65536 bytes of "lm_head.weight"',
    ],
    [
      "no size",
      "llama",
      ["--for", "vllm", "--max-shard-size", "large"],
      2,
      'got "large"',
    ],
    ["an empty directory", "llama/original", ["--for", "vllm"], 1, "got none"],
  ] as const)("%s", (_, model, args, status, message) => {
    const before = readdirSync(folder);
    const refused = quantize(model, "refused", ...args);
    expect(refused.stderr).toContain(message);
    expect(refused.stderr).not.toMatch(/\n +at /);
    expect(refused.status).toBe(status);
    expect(readdirSync(folder)).toEqual(before);
  });

  test.each([
    ["llama", "vllm", "model.layers.0.mlp.up_proj.weight", "NaN"],
    ["gpt2", "vllm", "transformer.h.0.mlp.c_fc.weight", "NaN"],
    ["gpt_oss", "transformers", "model.layers.0.mlp.experts.down_proj", "NaN"],
    ["llama", "vllm", "model.norm.weight", "-Infinity"],
    ["llama", "mlx", "model.embed_tokens.weight", "-Infinity"],
    ["gpt2", "vllm", "transformer.h.0.attn.c_attn.bias", "-Infinity"],
  ])(
    "a value of %s that is not finite, until it is to be kept",
    (model, loader, name, decoded) => {
      const { shape } = models[model]!.tensors.find(
        (each) => each.name === name,
      )!;
      const bad = `${model}-bad-${name}`;
      writeModel(join(folder, bad), model, 1);
      const file = join(folder, bad, "model.safetensors");
      const bytes = readFileSync(file);
      const header = JSON.parse(
        bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString(),
      ) as Record<string, { data_offsets: [number, number] }>;
      const data = 8 + Number(bytes.readBigUInt64LE(0));
      const element = count(shape) - 5;
      bytes.writeFloatLE(
        -Infinity,
        data + header[name]!.data_offsets[0] + 4 * element,
      );
      writeFileSync(file, bytes);
      const { status, stderr } = quantize(bad, "none", "--for", loader);
      expect(status).toBe(1);
      expect(stderr).toContain(
        `tensor "${name}", got -Infinity at element ${element}, [`,
      );
      expect(
        readdirSync(folder).filter((each) => each.includes("none")),
      ).toEqual([]);
      const kept = quantize(
        bad,
        `${bad}-kept`,
        "--for",
        loader,
        "--nonfinite",
        "keep",
      );
      expect(kept.stderr).toContain(`kept: 1 values of "${name}"`);
      const args = [
        "src/cli/main.ts",
        "dequantize",
        join(folder, `${bad}-kept`),
        "-o",
        join(folder, "none"),
      ];
      const back = spawnSync(process.execPath, args, {
        cwd: ROOT,
        encoding: "utf8",
      });
      expect(back.stderr).toContain(
        `tensor "${name}", got ${decoded} at element `,
      );
      expect(
        readdirSync(folder).filter((each) => each.includes("none")),
      ).toEqual([]);
    },
  );

  test("an output that is there stays, unless it may be replaced", () => {
    const there = join(folder, "there");
    mkdirSync(there);
    writeFileSync(join(there, "mine"), "");
    const refused = quantize("llama", "there", "--for", "vllm");
    expect(refused.stderr).toContain("--force overwrites it");
    expect(existsSync(join(there, "mine"))).toBe(true);
    expect(
      quantize("llama", "there", "--for", "vllm", "--force"),
    ).toMatchObject({ status: 0 });
    expect(existsSync(join(there, "mine"))).toBe(false);
  });

  test("--for a file", () => {
    const refused = quantize(
      "llama/model.safetensors",
      "file",
      "--for",
      "vllm",
    );
    expect(refused.stderr).toContain("Expected a model's directory");
    expect(refused.status).toBe(2);
  });
});
