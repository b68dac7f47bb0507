import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { openTextModel } from "../../src/generation/open-model.ts";
import { StopStrings } from "../../src/generation/stop-strings.ts";
import { firstSeen, Writer } from "../../src/generation/writer.ts";
import { KeyValueCache } from "../../src/model/key-value-cache.ts";
import {
  collected,
  folderIn,
  gpt2Directory,
  PINNED_SHAPE,
  written,
} from "../support/text-models.ts";

const SHAPE = { ...PINNED_SHAPE, context: 12, vocabulary: 256 };
const FILES = gpt2Directory(SHAPE);
const model = await (await openTextModel(folderIn(FILES))).load("f32");

describe("a text", () => {
  it("is the likeliest token after what is seen: all, then the last half of the context until that is full", async () => {
    const decoder = model.decoder;
    const bytes = [65, 66, 67];
    const { text } = await written(FILES, "ABC", {
      maxTokens: 30,
      temperature: 0,
    });
    for (let i = 0; i < 30; i++) {
      const seen = bytes.slice(
        bytes.length <= 12 ? 0 : 6 * Math.ceil((bytes.length - 12) / 6),
      );
      const cache = new KeyValueCache(decoder, 12);
      const logits = decoder.forward(model.weights, cache, seen);
      cache.free();
      bytes.push(logits.indexOf(Math.max(...logits)));
    }
    expect(text).toBe(
      new TextDecoder().decode(Uint8Array.from(bytes.slice(3))),
    );
  });

  it("sees at most the window and more than half of it", () => {
    for (const window of [1, 2, 7, 12])
      for (let length = 1; length < 60; length++) {
        const seen = length - firstSeen(length, window);
        expect(seen).toBeLessThanOrEqual(window);
        expect(seen).toBeGreaterThan(
          length <= window ? length - 1 : Math.floor(window / 2),
        );
      }
  });

  it("goes on from the last one as from its beginning, by the tokens that are new", async () => {
    const options = { maxTokens: 5, temperature: 0 };
    const writer = new Writer(model);
    const first = await collected(writer, "ab", options);
    let turns = 0;
    const writing = writer.write(
      `ab${first.text}`,
      options,
      () => void turns++,
    );
    let text = "";
    for await (const piece of writing) text += piece;
    writer.free();
    expect(text).toBe((await written(FILES, `ab${first.text}`, options)).text);
    expect(turns).toBe(5);
  });

  it("gives its keys and values back", async () => {
    const before = arena.ownedBytes;
    await written(FILES, "ab", { maxTokens: 3 });
    expect(arena.ownedBytes).toBe(before);
  });

  it("ends before a stop string, and says so", async () => {
    const options = { maxTokens: 20, seed: 4 };
    const whole = await written(FILES, "ab", options);
    expect(whole.ending).toEqual({
      reason: "length",
      promptTokens: 2,
      tokens: 20,
    });
    const stop = whole.text.slice(6, 8);
    const { text, ending } = await written(FILES, "ab", {
      ...options,
      stop: ["never", stop],
    });
    expect(text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(ending.reason).toBe("stop");
  });

  it("ends at a token that the model's config says ends it", async () => {
    const { text } = await written(FILES, "ab", {
      maxTokens: 1,
      temperature: 0,
    });
    const config = JSON.parse(
      new TextDecoder().decode(FILES.get("config.json")),
    ) as object;
    const [ending] = new TextEncoder().encode(text);
    const eos = new TextEncoder().encode(
      JSON.stringify({ ...config, eos_token_id: [ending] }),
    );
    const ended = await written(
      new Map([...FILES, ["config.json", eos]]),
      "ab",
      {
        maxTokens: 9,
        temperature: 0,
      },
    );
    expect(ended).toMatchObject({
      text: "",
      ending: { reason: "stop", tokens: 0 },
    });
  });

  it("of nothing is refused", async () => {
    await expect(written(FILES, "", { maxTokens: 1 })).rejects.toThrow(
      "Expected `prompt` to have at least one token, got none",
    );
  });
});

describe("stop strings", () => {
  const pieces = (strings: string[], ...all: string[]) => {
    const stops = new StopStrings(strings);
    return [...all.map((each) => stops.take(each)), stops.rest()];
  };
  it("hold back what may be the beginning of one", () => {
    expect(pieces(["\n\n", "END"], "a\n", "b E", "N", "x")).toEqual([
      { text: "a", isStopped: false },
      { text: "\nb ", isStopped: false },
      { text: "", isStopped: false },
      { text: "ENx", isStopped: false },
      "",
    ]);
    expect(pieces(["END"], "12E", "ND3")).toEqual([
      { text: "12", isStopped: false },
      { text: "", isStopped: true },
      "",
    ]);
    expect(pieces(["END"], "1E")).toEqual([
      { text: "1", isStopped: false },
      "E",
    ]);
  });
});

describe("a directory is refused", () => {
  const changed = async (name: string, text: string) => {
    const files = new Map([...FILES, [name, new TextEncoder().encode(text)]]);
    return (await openTextModel(folderIn(files))).load("f32");
  };
  it.each([
    [
      "config.json",
      '{"model_type":"mamba"}',
      'Expected `model_type` to be one of gpt2, llama, mistral, qwen2, qwen3, phi3, got "mamba"',
    ],
    [
      "tokenizer.json",
      '{"model":{"type":"WordPiece"}}',
      'of a BPE or a Unigram, got "WordPiece"',
    ],
  ])("%s of another kind", async (name, text, detail) => {
    await expect(changed(name, text)).rejects.toThrow(detail);
  });

  it("without config.json, and without a tokenizer where tokens are no bytes", async () => {
    const without = new Map(
      [...FILES].filter(([name]) => name !== "config.json"),
    );
    await expect(openTextModel(folderIn(without))).rejects.toThrow(
      "Expected config.json, got none",
    );
    const wide = gpt2Directory({ ...SHAPE, vocabulary: 300 });
    const opened = await openTextModel(folderIn(wide));
    await expect(opened.load("f32")).rejects.toThrow(
      "Expected tokenizer.json for a model of 300 tokens, got none",
    );
  });

  it("whose rows are no whole blocks, packed", async () => {
    const odd = gpt2Directory({ ...SHAPE, width: 40 });
    const opened = await openTextModel(folderIn(odd));
    await expect(opened.load("mxfp4")).rejects.toThrow(
      "to be a multiple of 32 to be packed, got 40",
    );
  });
});
