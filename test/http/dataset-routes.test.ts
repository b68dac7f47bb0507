import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, expect, test } from "vitest";
import type { Dataset } from "../../src/api/types.ts";
import type { Env } from "../../src/http/env.ts";
import { call, callJson, clientOf, corpus, TINY } from "../support/run.ts";
import { bytesOf, problemOf } from "./support.ts";

afterEach(reset);

const { BUCKET } = env as unknown as Env;

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
    digest: Array.from(new Uint8Array(digest), (byte) =>
      byte.toString(16).padStart(2, "0"),
    ).join(""),
    tokens: 1000,
    tokenizer: "byte",
    vocabulary: 256,
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
