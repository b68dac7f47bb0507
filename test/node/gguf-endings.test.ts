/** Which tokens of a GGUF end a text: those that end one in llama.cpp, also where no key of the file tells them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ggufFolder } from "../../src/checkpoints/from-gguf/gguf-folder.ts";
import type { GgufValue } from "../../src/formats/containers/gguf-writer.ts";
import { openTextModel } from "../../src/generation/open-model.ts";
import {
  architectureOf,
  completeShape,
  modelOf,
} from "../../src/model/architectures.ts";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { BYTE_CHARACTERS } from "../../src/tokenizers/byte-level.ts";
import { fileOf, ggufOfFolder, withPair } from "../support/gguf-of-folder.ts";
import "../support/kernels-node.ts";
import {
  HAS_LLAMA_CPP,
  stopLlamaCpp,
  withLlamaCpp,
} from "../support/llama-cpp.ts";
import { normals } from "../support/random.ts";
import { directoryOf, folderIn } from "../support/text-models.ts";

const VOCABULARY = 300;
/** Ids that no merge makes. */
const FIRST = 256;
const AND = 0x26;
const SHAPE = completeShape({
  arch: "llama",
  layers: 1,
  width: 64,
  heads: 2,
  context: 32,
  vocabulary: VOCABULARY,
  tied: true,
});

let folder: string;
let plain: Uint8Array;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-gguf-endings-"));
  const tensors = modelOf(SHAPE).table.tensors.map((tensor, i) => ({
    ...tensor,
    values: normals(tensor.length, i + 1) as Float32Array<ArrayBuffer>,
  }));
  const config = architectureOf(SHAPE).huggingFaceConfig(SHAPE);
  const model = folderIn(directoryOf(config, tensors, new Bpe([])));
  plain = await ggufOfFolder(model, { types: ["*=f32"] });
});
afterAll(async () => {
  await stopLlamaCpp();
  rmSync(folder, { recursive: true, force: true });
});

type Keys = Record<string, GgufValue>;

/** Tokens of byte pairs, or of SentencePiece's pieces, with such texts among them. */
function tokensWith(texts: readonly string[], isPieces: boolean): string[] {
  const bytes = isPieces
    ? Array.from(
        { length: 256 },
        (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`,
      )
    : BYTE_CHARACTERS;
  const others = Array.from(
    { length: VOCABULARY - 256 },
    (_, i) => `token${i}`,
  );
  return [...bytes, ...texts, ...others].slice(0, VOCABULARY);
}

const id = (name: string, uint32: number): Keys => ({
  [`tokenizer.ggml.${name}_token_id`]: { uint32 },
});
const TURNS = [
  "<|eot_id|>",
  "<|im_end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|eom_id|>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "[EOS]",
  "<|end_of_text|>",
  "<end_of_utterance>",
  "<eos>",
  "<turn|>",
  "<｜end▁of▁sentence｜>",
  "[e~[",
];

test.skipIf(!HAS_LLAMA_CPP).each<[string, string[], Keys, boolean, string[]]>([
  ["none", [], {}, false, ["ċ"]],
  ["none, of pieces", [], {}, true, ["<0x02>"]],
  ["none of an id that there is", [], id("eos", 4000), false, ["ċ"]],
  ["one", ["<stop>"], id("eos", FIRST), false, ["<stop>"]],
  ["texts alone", TURNS, {}, false, ["ċ", ...TURNS]],
  ["one, beside texts", ["</s>", "<|end|>"], id("eos", FIRST), true, ["</s>", "<|end|>"]], // prettier-ignore
  ["a turn's", ["<stop>", "<|end|>"], { ...id("eos", AND), ...id("eot", FIRST) }, false, ["&", "<stop>", "<|end|>"]], // prettier-ignore
  ["Harmony's", ["<|return|>", "<|call|>", "<|end|>", "<|message|>"], { ...id("eos", FIRST), ...id("eot", FIRST) }, false, ["<|return|>", "<|call|>"]], // prettier-ignore
  ["Solar's", ["<|flush|>", "<|calls|>", "<|end|>"], { ...id("eos", FIRST), ...id("eot", FIRST) }, false, ["<|flush|>", "<|calls|>"]], // prettier-ignore
  ["Gemma 4's", ["<|tool_response>", "</s>"], id("eos", FIRST), false, ["<|tool_response>"]], // prettier-ignore
  ["of files", ["<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<PRE>"], id("eos", AND), false, ["&", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]], // prettier-ignore
  ["of files, told", ["<|fim_pad|>", "<pad>"], { ...id("eos", AND), ...id("fim_pad", FIRST + 1) }, false, ["&", "<pad>"]], // prettier-ignore
])("%s", async (_, texts, keys, isPieces, expected) => {
  const tokens = tokensWith(texts, isPieces);
  const pairs: Keys = {
    "tokenizer.ggml.tokens": { strings: tokens },
    ...(isPieces && {
      "tokenizer.ggml.model": { string: "llama" },
      "tokenizer.ggml.scores": { float32s: tokens.map(() => 0) },
      "tokenizer.ggml.token_type": {
        int32s: tokens.map((_, at) => (at < 256 ? 6 : 1)),
      },
    }),
    ...keys,
  };
  let bytes = plain;
  for (const [key, value] of Object.entries(pairs))
    bytes = await withPair(bytes, key, value);
  const own = await ggufFolder("model.gguf", fileOf(bytes));
  const { endings, tokenizer, weights } = await (
    await openTextModel(own!)
  ).load("f32");
  weights.free();
  const path = join(folder, "model.gguf");
  writeFileSync(path, bytes);
  const text = texts.join("a");
  const [theirs, ids] = await withLlamaCpp(path, (model) =>
    Promise.resolve([
      tokens.filter((_, at) => model.isEogToken(at)),
      model.tokenize(text, true),
    ]),
  );
  expect(theirs).toEqual(expected);
  expect(endings.map((at) => tokens[at])).toEqual(theirs);
  // They are found in a text whatever type the file says that they are.
  if (!isPieces) expect(Array.from(tokenizer.encode(text))).toEqual(ids);
});
