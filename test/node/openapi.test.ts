/**
 * Every example of the description, sent to an edge as it stands there, in an order in which each finds
 * what it needs; the answers have the status, the headers and the schema that the description says.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Validator } from "@seriousme/openapi-schema-validator";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Lease } from "../../src/api/lease.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import {
  AnswerJudge,
  type Document,
  examplesOf,
  gradientFor,
  NEEDS_LEASE,
  ORDER,
  sendExample,
} from "../support/openapi.ts";
import { putExampleModel } from "../support/text-models.ts";

let folder: string;
let edge: Running;
let document: Document;
let judge: AnswerJudge;
/** The parameters that `pullParameters` answered, which tell the range of the gradient to push. */
let pulled: Uint8Array;
/** Of the lease that `takeLease` answered. */
let key: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-openapi-test-"));
  edge = await startEdge({ stateFolder: folder, quiet: true });
  await putExampleModel(edge.url);
  const response = await fetch(`${edge.url}/openapi.json`);
  document = (await response.json()) as Document;
  judge = new AnswerJudge(document);
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What no constant can be: it depends on what came before. */
const BODIES: Record<string, () => Promise<BodyInit>> = {
  pushGradient: () => gradientFor(pulled),
};

test("the document is valid OpenAPI 3.1", async () => {
  const { valid, errors } = await new Validator().validate(
    structuredClone(document) as unknown as Record<string, unknown>,
  );
  expect(errors).toBeUndefined();
  expect(valid).toBe(true);
});

test("the order of examples has every operation", () => {
  const ids = Object.values(document.paths)
    .flatMap((methods) => Object.values(methods))
    .map(({ operationId }) => operationId);
  expect(ORDER.toSorted()).toEqual(ids.toSorted());
});

/** Events and texts. Every other answer declares its length, without which a reader does not see that it broke off. */
const ENDS_BY_ITSELF = new Set(["getEvents", "generate", "generateFromRun"]);

/** What the operation before has ended is begun again. */
const BEGUN_BY: Record<string, string> = {
  abortUpload: "beginUpload",
  deleteFolder: "putFile",
};

test.each(ORDER)("%s answers its examples as described", async (id) => {
  const beginning = BEGUN_BY[id];
  for (const example of beginning ? examplesOf(document, beginning) : [])
    await sendExample(edge.url, example);
  for (const example of examplesOf(document, id)) {
    const hasBody = example.operation.requestBody !== undefined;
    const body = await BODIES[id]?.();
    const headers: Record<string, string> = {};
    if (NEEDS_LEASE.has(id)) headers["Lease-Key"] = key;
    const response = await sendExample(edge.url, example, body, headers);
    expect(response.status, `${id} ${example.name}`).toBeLessThan(300);
    if (!ENDS_BY_ITSELF.has(id) && response.status !== 204)
      expect(response.headers.has("Content-Length"), id).toBe(true);
    const bytes = await judge.check(example.operation, response);
    if (id === "pullParameters") pulled = bytes;
    if (id === "takeLease")
      ({ key } = (
        JSON.parse(new TextDecoder().decode(bytes)) as { lease: Lease }
      ).lease);
    // A corpus and a file may be anything.
    if (!hasBody || id.startsWith("put")) continue;
    const refused = await sendExample(edge.url, example, "no such body");
    expect(refused.status, `${id} of nonsense`).toBeGreaterThanOrEqual(400);
    await judge.check(example.operation, refused);
  }
});

test("a Llama's run is answered as described", async () => {
  const put = await fetch(`${edge.url}/v1/datasets/llama`, {
    method: "PUT",
    body: "It was the best of times, it was the worst of times. ".repeat(40),
  });
  expect(put.status).toBe(201);
  const created = await fetch(`${edge.url}/v1/runs`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      run: "llama",
      dataset: "llama",
      model: { arch: "llama", layers: 1, width: 64, heads: 1, context: 64 },
      sequences: 1,
      microbatches: 2,
    }),
  });
  expect(created.status).toBe(201);
  await judge.check(document.paths["/v1/runs"]!.post!, created);
});
