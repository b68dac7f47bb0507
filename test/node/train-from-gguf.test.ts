/** `train --from` of a GGUF: the run that the directory of the same model begins, byte for byte. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import { withPair } from "../support/gguf-of-folder.ts";
import { splitGguf } from "../support/split-gguf.ts";
import {
  BATCH,
  metricsIn,
  SCRIPTS,
  SMALL,
  TrainingPlace,
  UNSAMPLED,
} from "../support/train-command.ts";

const TOLD = ["--steps", "2", ...BATCH, ...UNSAMPLED];
let home: TrainingPlace;
const at = (...names: string[]) => join(home.folder, ...names);

beforeAll(async () => {
  home = new TrainingPlace();
  const made = ["--steps", "4", "--name", "first", ...SMALL, ...UNSAMPLED];
  expect(await home.train("--text", home.text, ...made).ended).toMatchObject({
    code: 0,
    stderr: "",
  });
  for (const [format, name] of [
    ["hf", "hf"],
    ["gguf", "f32.gguf"],
    ["gguf-mxfp4", "packed.gguf"],
  ] as const)
    run("export", at("state/runs/first"), "--format", format, "-o", at(name));
});
afterAll(() => home.end());

function run(...args: string[]): void {
  const words = [join(SCRIPTS, "mxfp4-edge.ts"), ...args];
  const { status, stderr } = spawnSync(process.execPath, words, {
    encoding: "utf8",
  });
  expect(status, stderr).toBe(0);
}

/** A run that goes on from there, on another text: its metrics without times, and its tensors. */
async function tuned(name: string, from: string) {
  const text = at("other.txt");
  writeFileSync(text, "Another text, of the same few letters.\n".repeat(200));
  const told = ["--text", text, "--from", from, "--name", name, ...TOLD];
  const { code, stderr } = await home.train(...told).ended;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const kept = (file: string) => at("state/runs", name, file);
  const losses = metricsIn(kept("metrics.jsonl")).map(
    ({ trainLoss, valLoss }) => [trainLoss, valLoss],
  );
  const { tensors, metadata } = readSafetensors(
    readFileSync(kept("checkpoint.safetensors")),
  );
  return { losses, tensors, tokenizer: metadata.get("mxfp4-edge.tokenizer") };
}

test("a GGUF, alone in a directory too, begins and ends as the directory of its model, with its tokenizer", async () => {
  const own = await tuned("directory", at("hf"));
  expect(own.tokenizer).toBeDefined();
  expect(await tuned("gguf", at("f32.gguf"))).toEqual(own);
  mkdirSync(at("alone"));
  copyFileSync(at("f32.gguf"), at("alone", "a model, its name.gguf"));
  expect(await tuned("alone", at("alone"))).toEqual(own);
  mkdirSync(at("parts"));
  for (const [name, part] of await splitGguf(
    readFileSync(at("f32.gguf")),
    [0, 7, 100],
  ))
    writeFileSync(at("parts", name), part);
  expect(await tuned("parts", at("parts"))).toEqual(own);
  // As of a large vocabulary, or a long template.
  const long = await withPair(
    readFileSync(at("f32.gguf")),
    "tokenizer.chat_template",
    { string: "x".repeat(3 << 20) },
  );
  writeFileSync(at("long.gguf"), long);
  expect(await tuned("long", at("long.gguf"))).toEqual(own);
  const packed = await tuned("packed", at("packed.gguf"));
  expect(packed.losses).toHaveLength(own.losses.length);
  expect(packed.losses[0]).not.toEqual(own.losses[0]);
  expect(packed.tokenizer).toBe(own.tokenizer);
});

test("a directory whose weights another program has written again has its tokenizer of tokenizer.json", async () => {
  const again = at("again");
  mkdirSync(again);
  for (const name of ["config.json", "tokenizer.json"])
    copyFileSync(at("hf", name), join(again, name));
  const { tensors } = readSafetensors(readFileSync(at("hf/model.safetensors")));
  const whole = tensors.map(({ bytes, ...head }) => ({
    ...head,
    chunks: [bytes],
  }));
  const { chunks } = writeSafetensors(whole, new Map([["format", "pt"]]));
  writeFileSync(join(again, "model.safetensors"), Buffer.concat([...chunks]));
  expect(await tuned("again", again)).toEqual(await tuned("before", at("hf")));
});

test("what is no such GGUF is refused by what it is", async () => {
  const head = readFileSync(at("f32.gguf"));
  const refused = async (bytes: Uint8Array, ...more: string[]) => {
    writeFileSync(at("bad.gguf"), bytes);
    const { code, stderr } = await home.train(
      "--text",
      home.text,
      "--from",
      at("bad.gguf"),
      ...more,
    ).ended;
    return [code, stderr];
  };
  const changed = (from: string, to: string) =>
    Buffer.from(head.toString("latin1").replace(from, to), "latin1");
  expect(await refused(head.subarray(0, 1000))).toEqual([
    1,
    expect.stringMatching(/^Expected .*, got /),
  ]);
  expect(await refused(changed("gpt2", "bert"))).toEqual([
    1,
    expect.stringContaining(
      '`general.architecture` gpt2, llama, qwen2, qwen3, got "bert"',
    ),
  ]);
  expect(await refused(head, "--resume")).toEqual([
    2,
    expect.stringContaining("got parameters only in"),
  ]);
  expect(await refused(head, "--tokenizer", "byte")).toEqual([
    2,
    expect.stringContaining("Expected no --tokenizer or"),
  ]);
  // Another pair is the first: no merges of these ids.
  const merged = await refused(
    changed("tokenizer.ggml.merges", "tokenizer.ggml.others"),
  );
  expect(merged).toEqual([
    2,
    expect.stringContaining(
      "Expected the model of --from to have a tokenizer.json",
    ),
  ]);
});
