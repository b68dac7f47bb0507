import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import type { Dataset } from "../../src/api/dataset.ts";
import type { Env } from "../../src/http/env.ts";
import { Buffer } from "node:buffer";
import { Bpe } from "../../src/tokenizers/bpe.ts";
import { readTokenizerJson } from "../../src/tokenizers/tokenizer-json.ts";
import {
  call,
  callJson,
  clientOf,
  corpus,
  startRun,
  TINY,
} from "../support/run.ts";
import { bytesOf, problemOf } from "./support.ts";

afterEach(reset);

const { BUCKET } = env as unknown as Env;

function toHex(bytes: ArrayBuffer): string {
  return Buffer.from(bytes).toString("hex");
}

function newName(): string {
  return `text.${crypto.randomUUID()}`;
}

test("PUT stores a corpus once: 201, the same again 200, other bytes 409", async () => {
  const name = newName();
  const path = `/v1/datasets/${name}`;
  const text = corpus(1000);
  const first = await call("PUT", path, text);
  expect(first.status).toBe(201);
  const digest = await crypto.subtle.digest("SHA-256", text);
  expect(await first.json()).toEqual({
    name,
    digest: toHex(digest),
    tokens: 1000,
    tokenizer: "byte",
    vocabulary: 256,
    state: "ready",
    bytes: 1000,
    textDigest: toHex(digest),
    progress: 1,
    error: null,
  });
  expect((await call("PUT", path, text)).status).toBe(200);
  const other = text.slice();
  other[500]! ^= 1;
  await problemOf(await call("PUT", path, other), 409, "dataset_differs");
  await problemOf(
    await call("PUT", path, text.slice(1)),
    409,
    "dataset_differs",
  );
  // What was refused or there before leaves nothing behind.
  const { objects } = await BUCKET.list({ prefix: `datasets/${name}/` });
  expect(objects).toHaveLength(1);
  const dataset = await (await call("GET", path)).json<Dataset>();
  expect(dataset.tokens).toBe(1000);
});

test("PUT reads bodies of several pieces, and keeps their bytes", async () => {
  const name = newName();
  const text = corpus(300_001);
  await clientOf().putDataset(name, text);
  const response = await call("GET", `/v1/datasets/${name}/tokens`);
  expect(response.status).toBe(200);
  expect(new Uint8Array(await response.arrayBuffer())).toEqual(text);
});

test("PUT wants a Content-Length that is right, within bounds", async () => {
  const stream = (bytes: number) =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(corpus(bytes));
        controller.close();
      },
    });
  const path = `/v1/datasets/${newName()}`;
  await problemOf(await call("PUT", path, stream(10)), 411, "length_required");
  await problemOf(await call("PUT", path, ""), 400, "malformed_body");
  await problemOf(
    await call("PUT", path, corpus(10), { "Content-Length": "104857601" }),
    413,
    "body_too_large",
  );
  await problemOf(
    await call("PUT", path, corpus(10), { "Content-Length": "11" }),
    400,
    "malformed_body",
  );
  await problemOf(
    await call("PUT", "/v1/datasets/a%20b", corpus(10)),
    422,
    "invalid_name",
  );
  await problemOf(
    await call("PUT", `/v1/datasets/${"x".repeat(65)}`, corpus(10)),
    422,
    "invalid_name",
  );
  await problemOf(await call("GET", path), 404, "dataset_not_found");
});

test("GET tokens answers one range, and refuses what is outside", async () => {
  const name = newName();
  const text = corpus(100);
  await clientOf().putDataset(name, text);
  const path = `/v1/datasets/${name}/tokens`;
  const range = (value: string) =>
    call("GET", path, undefined, { Range: value });
  for (const [value, start, end] of [
    ["bytes=0-9", 0, 10],
    ["bytes=90-", 90, 100],
    ["bytes=90-1000", 90, 100],
    ["bytes=-7", 93, 100],
    ["bytes=-1000", 0, 100],
  ] as const) {
    const response = await range(value);
    expect(response.status, value).toBe(206);
    expect(response.headers.get("Content-Range")).toBe(
      `bytes ${start}-${end - 1}/100`,
    );
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(
      text.slice(start, end),
    );
  }
  for (const value of [
    "bytes=100-",
    "bytes=9-5",
    "bytes=-0",
    "bytes=-",
    "bytes=0-1,5-6",
  ]) {
    const refused = await range(value);
    expect(refused.headers.get("Content-Range"), value).toBe("bytes */100");
    await problemOf(refused, 416, "range_not_satisfiable");
  }
  const otherUnit = await range("tokens=0-1");
  expect(await bytesOf(otherUnit)).toEqual(text);
});

test("DELETE refuses a corpus that an unfinished run pins, and removes any other", async () => {
  const name = newName();
  const client = clientOf();
  await client.putDataset(name, corpus());
  const { run } = await client.createRun({ ...TINY, dataset: name });
  const path = `/v1/datasets/${name}`;
  const problem = await problemOf(
    await call("DELETE", path),
    409,
    "dataset_in_use",
  );
  expect(problem.detail).toContain(run);
  await callJson("PATCH", `/v1/runs/${run}`, { state: "cancelled" });
  expect((await call("DELETE", path)).status).toBe(204);
  await problemOf(await call("DELETE", path), 404, "dataset_not_found");
  await problemOf(await call("GET", path), 404, "dataset_not_found");
  await problemOf(
    await call("GET", `${path}/tokens`),
    404,
    "dataset_not_found",
  );
  const { objects } = await BUCKET.list({ prefix: `datasets/${name}/` });
  expect(objects).toHaveLength(0);
});

describe("byte pairs", () => {
  /** Several scripts, with more pairs that come again than a small vocabulary has ids. */
  const TEXT = Uint8Array.from(
    Buffer.from(
      Array.from(
        { length: 800 },
        (_, i) =>
          `${(i * i * 7919) % 999983} whales, Wale und Õ; ${i % 7} китов 鯨魚${i % 5} 🐋${(i * 31) % 89}\n`,
      ).join(""),
    ),
  );

  /** Stored, and ready. */
  async function stored(vocabulary = 512, text = TEXT): Promise<Dataset> {
    const name = newName();
    const client = clientOf();
    const options = { tokenizer: "bpe", vocabulary } as const;
    const begun = await client.putDataset(name, text, options);
    expect(begun).toMatchObject({
      name,
      tokenizer: "bpe",
      vocabulary,
      state: "training",
      bytes: text.length,
      digest: null,
      tokens: null,
      error: null,
    });
    return client.readyDataset(name);
  }

  async function tokensOf(name: string, query = ""): Promise<Uint16Array> {
    const response = await call("GET", `/v1/datasets/${name}/tokens${query}`);
    expect(response.status).toBe(200);
    return new Uint16Array(await response.arrayBuffer());
  }

  test("are learned from the text, which its tokens are", async () => {
    const dataset = await stored();
    const { name } = dataset;
    const tokens = await tokensOf(name);
    expect(dataset).toEqual({
      name,
      digest: toHex(await crypto.subtle.digest("SHA-256", tokens)),
      tokens: tokens.length,
      tokenizer: "bpe",
      vocabulary: 512,
      state: "ready",
      bytes: TEXT.length,
      textDigest: toHex(await crypto.subtle.digest("SHA-256", TEXT)),
      progress: 1,
      error: null,
    });
    const bpe = readTokenizerJson(await clientOf().tokenizer(name));
    expect(bpe.vocabulary).toBe(512);
    expect(tokens).toEqual(bpe.encode(new TextDecoder().decode(TEXT)));
    expect(tokens.length).toBeLessThan(TEXT.length / 2);
    const bytes = bpe.tokens();
    expect(Buffer.concat(Array.from(tokens, (id) => bytes[id]!))).toEqual(
      Buffer.from(TEXT),
    );
    // The text is gone, and so is what was at work.
    const { objects } = await BUCKET.list({ prefix: `datasets/${name}/` });
    expect(objects.map(({ key }) => key.split(".").at(-1))).toEqual([
      "tokenizer",
      "tokens",
    ]);
    expect((await clientOf().datasets()).datasets).toContainEqual(dataset);
  });

  test("are the same for the same text, and stored once", async () => {
    const [one, two] = [await stored(600), await stored(600)];
    expect(two).toEqual({ ...one, name: two.name });
    expect(await clientOf().tokenizer(two.name)).toBe(
      await clientOf().tokenizer(one.name),
    );
    const path = `/v1/datasets/${one.name}?tokenizer=bpe`;
    const again = await call("PUT", `${path}&vocabulary=600`, TEXT);
    expect(again.status).toBe(200);
    expect(await again.json()).toEqual(one);
    for (const [query, text] of [
      ["tokenizer=bpe&vocabulary=601", TEXT],
      ["tokenizer=byte", TEXT],
      ["tokenizer=bpe&vocabulary=600", TEXT.with(3, 0x41)],
    ] as const) {
      const refused = await call(
        "PUT",
        `/v1/datasets/${one.name}?${query}`,
        text,
      );
      await problemOf(refused, 409, "dataset_differs");
    }
  });

  test("of a model are never taken for those learned from the text, nor those for them", async () => {
    const own = await stored(600);
    const { run } = await startRun({ dataset: own.name });
    await BUCKET.put(
      "files/mine/model.safetensors",
      await (await run.checkpoint()).arrayBuffer(),
    );
    const put = (name: string, query: string, text = OTHER) =>
      call("PUT", `/v1/datasets/${name}?tokenizer=bpe&${query}`, text);
    const OTHER = Uint8Array.from(TEXT, (byte) =>
      byte >= 0x61 && byte < 0x7a ? byte + 1 : byte,
    );
    const learned = `vocabulary=${own.vocabulary}`;
    const [given, asked] = [newName(), newName()];
    expect((await put(given, "from=mine")).status).toBe(201);
    await problemOf(await put(given, learned), 409, "dataset_differs");
    expect(await clientOf().readyDataset(given)).not.toHaveProperty("given");
    await problemOf(await put(given, learned), 409, "dataset_differs");
    expect((await put(given, "from=mine")).status).toBe(200);
    expect((await put(asked, learned)).status).toBe(201);
    await clientOf().readyDataset(asked);
    const refused = await put(asked, "from=mine");
    const { detail } = await problemOf(refused, 409, "dataset_differs");
    expect(detail).toContain("learned from its text; got another, of `from`");
    expect((await put(asked, learned)).status).toBe(200);
    // The model's are those of this text.
    expect((await put(own.name, "from=mine", TEXT)).status).toBe(200);
  });

  test("windows are counted in tokens, ranges in bytes", async () => {
    const { name, tokens: count } = await stored();
    const all = await tokensOf(name);
    expect(await tokensOf(name, "?start=10&length=5")).toEqual(
      all.slice(10, 15),
    );
    expect(await tokensOf(name, `?start=${count! - 3}`)).toEqual(all.slice(-3));
    const path = `/v1/datasets/${name}/tokens`;
    const range = await call("GET", path, undefined, { Range: "bytes=20-23" });
    expect(range.headers.get("Content-Range")).toBe(
      `bytes 20-23/${2 * count!}`,
    );
    expect(new Uint16Array(await range.arrayBuffer())).toEqual(
      all.slice(10, 12),
    );
    const within = await call("GET", `${path}?start=10&length=5`, undefined, {
      Range: "bytes=2-",
    });
    expect(within.headers.get("Content-Range")).toBe("bytes 2-9/10");
    expect(new Uint16Array(await within.arrayBuffer())).toEqual(
      all.slice(11, 15),
    );
    const head = await call("HEAD", `${path}?start=10&length=5`);
    expect(head.headers.get("Content-Length")).toBe("10");
    for (const query of [`start=${count}`, `start=0&length=${count! + 1}`]) {
      const refused = await call("GET", `${path}?${query}`);
      await problemOf(refused, 416, "range_not_satisfiable");
    }
    const none = await call("GET", `${path}?length=0`);
    await problemOf(none, 422, "invalid_option");
  });

  test("of a text with few pairs are as few as it has", async () => {
    const text = Uint8Array.from(Buffer.from("abab ".repeat(20)));
    const dataset = await stored(512, text);
    const [a, b] = [0x61, 0x62];
    const bpe = readTokenizerJson(await clientOf().tokenizer(dataset.name));
    expect(bpe.merges).toEqual([
      [a, b],
      [256, 256],
      [0x20, 257],
    ]);
    expect(dataset.vocabulary).toBe(259);
    expect([...(await tokensOf(dataset.name))]).toEqual([
      257,
      ...Array.from({ length: 19 }, () => 258),
      0x20,
    ]);
  });

  test("a text that is none fails, says why, and goes when it is removed", async () => {
    const name = newName();
    const path = `/v1/datasets/${name}`;
    const text = Uint8Array.of(0x61, 0xff, 0x62);
    await call("PUT", `${path}?tokenizer=bpe`, text);
    await expect(clientOf().readyDataset(name)).rejects.toMatchObject({
      code: "malformed_body",
      message: expect.stringContaining("Expected text in UTF-8") as string,
    });
    expect(await clientOf().dataset(name)).toMatchObject({
      state: "failed",
      vocabulary: 2048,
      tokens: null,
    });
    for (const part of ["tokens", "tokenizer"]) {
      const refused = await call("GET", `${path}/${part}`);
      const { detail } = await problemOf(refused, 409, "dataset_not_ready");
      expect(detail).toContain("Expected text in UTF-8");
    }
    const run = await callJson("POST", "/v1/runs", { dataset: name });
    await problemOf(run, 409, "dataset_not_ready");
    const { objects } = await BUCKET.list({ prefix: `datasets/${name}/` });
    expect(objects).toEqual([]);
    expect((await call("DELETE", path)).status).toBe(204);
    expect((await call("PUT", path, text)).status).toBe(201);
  });

  test.each([
    ["tokenizer=word", "`tokenizer`"],
    ["tokenizer=bpe&vocabulary=511", "`vocabulary`"],
    ["tokenizer=bpe&vocabulary=16385", "`vocabulary`"],
    ["vocabulary=512", "only with tokenizer=bpe"],
    ["from=model", "Expected `from` with tokenizer=bpe"],
    ["tokenizer=bpe&vocabulary=512&from=model", "got bpe of 512"],
  ])("%s is refused", async (query, message) => {
    const path = `/v1/datasets/${newName()}`;
    const refused = await call("PUT", `${path}?${query}`, TEXT);
    const { detail } = await problemOf(refused, 422, "invalid_option");
    expect(detail).toContain(message);
    await problemOf(await call("GET", path), 404, "dataset_not_found");
  });

  test("a corpus of bytes has a tokenizer too, which has nothing to join", async () => {
    const name = newName();
    await clientOf().putDataset(name, corpus(100));
    const bpe = readTokenizerJson(await clientOf().tokenizer(name));
    expect(bpe.merges).toEqual(new Bpe([]).merges);
  });
});
