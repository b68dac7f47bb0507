/** `POST /v1/generate` and `/v1/runs/:run/generate`: text from the bucket and from runs. */
import { env, reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { TextEvent } from "../../src/api/generation.ts";
import type { ModelRequest } from "../../src/api/run-config.ts";
import { callJson, clientOf, corpus, finish, TINY } from "../support/run.ts";
import { ggufOfFolder } from "../support/gguf-of-folder.ts";
import { splitGguf } from "../support/split-gguf.ts";
import {
  type Files,
  folderIn,
  gpt2Directory,
  PINNED_SHAPE,
  written,
} from "../support/text-models.ts";
import { problemOf } from "./support.ts";
import { untarred } from "../support/untarred.ts";

afterEach(reset);

const BUCKET = (env as { BUCKET: R2Bucket }).BUCKET;
const SHAPE = { ...PINNED_SHAPE, vocabulary: 256 };
const OPTIONS = { maxTokens: 30, seed: 5, topP: 0.9 };

async function putModel(name: string, files = gpt2Directory(SHAPE)) {
  for (const [file, bytes] of files)
    await BUCKET.put(`files/${name}/${file}`, bytes);
  return files;
}

const generate = (body: object, query = "") =>
  callJson("POST", `/v1/generate${query}`, body);

describe("a model of the bucket", () => {
  test.each(["f32", "mxfp4"] as const)(
    "writes in %s what it writes elsewhere, again and again",
    async (weights) => {
      const files = await putModel("mine");
      const expected = (await written(files, "ab", OPTIONS, weights)).text;
      for (let i = 0; i < 2; i++) {
        const response = await generate({
          model: "mine",
          prompt: "ab",
          weights,
          ...OPTIONS,
        });
        expect(response.headers.get("Content-Type")).toBe(
          "text/plain; charset=utf-8",
        );
        expect(await response.text()).toBe(expected);
      }
    },
  );

  test("another of the same name writes its own text", async () => {
    await putModel("mine");
    const request = { model: "mine", prompt: "ab", ...OPTIONS };
    await (await generate(request)).text();
    const other = await putModel(
      "mine",
      gpt2Directory({ ...SHAPE, layers: 1 }),
    );
    expect(await (await generate(request)).text()).toBe(
      (await written(other, "ab", OPTIONS)).text,
    );
  });

  test.each(["f32", "mxfp4"] as const)(
    "in a GGUF writes in %s what its directory does",
    async (weights) => {
      const files = gpt2Directory(SHAPE);
      const choices = { types: ["*=f32"] };
      await BUCKET.put(
        "files/mine.gguf",
        await ggufOfFolder(folderIn(files), choices),
      );
      const request = { model: "mine.gguf", prompt: "ab", weights, ...OPTIONS };
      for (let i = 0; i < 2; i++)
        expect(await (await generate(request)).text()).toBe(
          (await written(files, "ab", OPTIONS, weights)).text,
        );
    },
  );

  test("in a GGUF in parts writes what the whole does, and what the parts are now", async () => {
    const put = async (files: Files, counts: number[]) => {
      const whole = await ggufOfFolder(folderIn(files), { types: ["*=f32"] });
      for (const [name, part] of await splitGguf(whole, counts))
        await BUCKET.put(`files/in/${name}`, part);
    };
    const files = gpt2Directory(SHAPE);
    const model = "in/model-00001-of-00003.gguf";
    const request = { model, prompt: "ab", ...OPTIONS };
    const own = (await written(files, "ab", OPTIONS)).text;
    for (const first of [0, 3]) {
      await put(files, [first, 6 - first, 100]);
      expect(await (await generate(request)).text()).toBe(own);
    }
    const last = "files/in/model-00003-of-00003.gguf";
    const bytes = await (await BUCKET.get(last))!.bytes();
    await BUCKET.put(
      last,
      bytes.map((byte, i) => (i > bytes.length - 2048 ? 0 : byte)),
    );
    expect(await (await generate(request)).text()).not.toBe(own);
    await BUCKET.delete(last);
    await problemOf(await generate(request), 404, "file_not_found");
    await problemOf(
      await generate({ ...request, model: "in/model-00002-of-00003.gguf" }),
      400,
      "malformed_body",
    );
  });

  test("writes as events, whose last says how it ended", async () => {
    const files = await putModel("mine");
    const response = await generate(
      { model: "mine", prompt: "ab", ...OPTIONS },
      "?format=sse",
    );
    expect(response.headers.get("Content-Type")).toBe("text/event-stream");
    const events = (await response.text())
      .split("\n\n")
      .filter(Boolean)
      .map((block) => JSON.parse(block.slice("data: ".length)) as TextEvent);
    const { text, ending } = await written(files, "ab", OPTIONS);
    expect(events.at(-1)).toEqual(ending);
    expect(
      events.flatMap((event) => ("text" in event ? event.text : [])).join(""),
    ).toBe(text);
    expect(events.length).toBeGreaterThan(10);
  });

  test("that is not there, or asked for what it cannot, is refused", async () => {
    await putModel("mine");
    const ask = { model: "mine", prompt: "ab", maxTokens: 3 };
    for (const [change, status, code] of [
      [{ model: "none" }, 404, "file_not_found"],
      [{ model: "a/../c" }, 422, "invalid_config"],
      [{ prompt: "" }, 422, "invalid_config"],
      [{ topP: 2 }, 422, "invalid_config"],
      [{ other: 1 }, 422, "invalid_config"],
    ] as const)
      await problemOf(await generate({ ...ask, ...change }), status, code);
    await BUCKET.put("files/plain", new Uint8Array(32));
    await problemOf(
      await generate({ ...ask, model: "plain" }),
      400,
      "malformed_body",
    );
  });
});

describe("a run", () => {
  test.each<[string, ModelRequest, tokenizer: "byte" | "bpe"]>([
    ["a GPT-2 on bytes", {}, "byte"],
    ["a GPT-2 on byte pairs", {}, "bpe"],
    ["a Llama", { arch: "llama", tied: false }, "bpe"],
    [
      "a Qwen3",
      { arch: "llama", headNorm: true, groups: 1, headWidth: 64 },
      "byte",
    ],
    [
      "a Llama that leaves as a Mistral",
      { arch: "llama", heads: 3, headWidth: 64 },
      "byte",
    ],
  ])(
    "of %s writes as its checkpoint, its directory and a run from that do",
    async (_, asked, tokenizer) => {
      const client = clientOf();
      const dataset = `text-${crypto.randomUUID()}`;
      const vocabulary = tokenizer === "bpe" ? { vocabulary: 512 } : {};
      await client.putDataset(dataset, corpus(16_384), {
        tokenizer,
        ...vocabulary,
      });
      await client.readyDataset(dataset);
      const model = { ...TINY.model, ...asked };
      const created = await client.createRun({
        ...TINY,
        model,
        dataset,
        steps: 2,
        shards: 2,
      });
      const run = client.run(created.run);
      const body = { prompt: "the sea", ...OPTIONS };
      const textOf = async (id: string, weights: string) => {
        const path = `/v1/runs/${id}/generate`;
        return (await callJson("POST", path, { ...body, weights })).text();
      };
      const before = await textOf(run.run, "f32");
      await finish(run, ["one"]);

      const tar = untarred(
        await (await run.checkpoint({ format: "hf" })).bytes(),
      );
      const files = new Map(
        [...tar].map(([name, bytes]) => [
          name.slice(name.indexOf("/") + 1),
          bytes,
        ]),
      );
      await putModel("exported", files);
      const checkpoint = await (await run.checkpoint()).bytes();
      await BUCKET.put("files/checkpoint", checkpoint);
      const again = await client.createRun({
        ...TINY,
        model: undefined,
        dataset,
        from: "exported",
      });
      for (const weights of ["f32", "mxfp4"] as const) {
        const after = await textOf(run.run, weights);
        expect(after).not.toBe(before);
        for (const from of ["exported", "checkpoint"])
          expect(
            await (await generate({ ...body, model: from, weights })).text(),
          ).toBe(after);
        expect((await written(files, body.prompt, OPTIONS, weights)).text).toBe(
          after,
        );
        expect(await textOf(again.run, weights)).toBe(after);
        let streamed = "";
        for await (const event of run.generate({ ...body, weights }))
          if ("text" in event) streamed += event.text;
        expect(streamed).toBe(after);
      }
    },
  );

  test("that does not exist is refused", async () => {
    const response = await callJson("POST", "/v1/runs/none/generate", {
      prompt: "a",
    });
    await problemOf(response, 404, "run_not_found");
  });
});
