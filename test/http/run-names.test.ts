/** What people call a run: kept by the edge, beside what the run computes. */
import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { RunStatus, RunSummary } from "../../src/api/run-status.ts";
import {
  bindings,
  call,
  callJson,
  clientOf,
  corpus,
  TINY,
} from "../support/run.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

const HTML = `<b>"R&D"</b> 量化 🐳`;

async function newRequest(more: object): Promise<object> {
  const dataset = `corpus-${crypto.randomUUID()}`;
  await clientOf().putDataset(dataset, corpus());
  return { ...TINY, dataset, ...more };
}

const post = (body: object) => callJson("POST", "/v1/runs", body);

const listed = async () =>
  (await (await call("GET", "/v1/runs")).json<{ runs: RunSummary[] }>()).runs;

test("a name is told as it was given, in status and list, and is no part of the config", async () => {
  const body = await newRequest({ run: "mine" });
  const named = await (await post({ ...body, name: HTML })).json<RunStatus>();
  expect(named.name).toBe(HTML);
  expect((await clientOf().run("mine").status()).name).toBe(HTML);
  const other = await (await post({ ...body, run: "other" })).json<RunStatus>();
  expect(other.name).toBeNull();
  // The config is what every byte follows from.
  expect(named.config).toEqual(other.config);
  const names = (await listed()).map(({ run, name }) => [run, name]);
  expect(names).toContainEqual(["mine", HTML]);
  expect(names).toContainEqual(["other", null]);
});

test("a name is for good: the same request repeats, one with another name is refused", async () => {
  const body = await newRequest({ run: "mine", name: "first" });
  expect((await post(body)).status).toBe(201);
  expect((await post(body)).status).toBe(200);
  const problem = await problemOf(
    await post({ ...body, name: "second" }),
    409,
    "wrong_state",
  );
  expect(problem.detail).toContain('"first"; got "second"');
  await problemOf(await post({ ...body, name: undefined }), 409, "wrong_state");
  expect((await clientOf().run("mine").status()).name).toBe("first");
});

test.each([
  ["none at all", "", '""'],
  ["spaces alone", "   ", '"   "'],
  ["a space last", "run ", '"run "'],
  ["81 characters", "x".repeat(81), '"xxx'],
  ["a line's end", "one\ntwo", '"one\\ntwo"'],
  ["a C1 control character", "one\u0085two", '"one'],
  ["a bidi override", "one\u202etwo", '"one'],
  ["a bidi isolate", "one\u2066two", '"one'],
  ["what nobody sees", "one\u200btwo", '"one'],
  ["half of a pair", "one\ud83d", '"one'],
  ["a number", 7, "7"],
  ["null", null, "null"],
])("%s is no name", async (_what, name, came) => {
  const problem = await problemOf(
    await post(await newRequest({ name })),
    422,
    "invalid_config",
  );
  expect(problem.detail).toMatch(
    typeof name === "string"
      ? /^Expected `name` to be 1 to 80 visible characters/
      : /^Expected `name` to be a string/,
  );
  expect(problem.detail).toContain(`got ${came}`);
  expect(await listed()).toEqual([]);
});

test.each([
  ["80 characters", "x".repeat(80)],
  ["80 whales, of two units each", "🐳".repeat(80)],
  ["words", "bf16, warm-up 50 / second try (β₁ = 0.9)"],
])("%s are a name", async (_what, name) => {
  expect((await post(await newRequest({ name }))).status).toBe(201);
});

test("runs of a release that knew no names are read, and have none", async () => {
  const body = await newRequest({ run: "old", name: "too new" });
  expect((await post(body)).status).toBe(201);
  // A run's schema has gained `exclusions` since.
  for (const [stub, columns] of [
    [
      bindings.RUN.getByName("old"),
      ["run DROP COLUMN name", "authors DROP COLUMN exclusions"],
    ],
    [bindings.DIRECTORY.getByName("directory"), ["runs DROP COLUMN name"]],
  ] as const) {
    await runInDurableObject(stub, (_object, { storage }) => {
      for (const column of columns) storage.sql.exec(`ALTER TABLE ${column}`);
      storage.sql.exec(
        "UPDATE schema SET version = version - ?",
        columns.length,
      );
    });
    await evictDurableObject(stub);
  }
  const { name, state } = await clientOf().run("old").status();
  expect([name, state]).toEqual([null, "running"]);
  expect(await listed()).toEqual([
    expect.objectContaining({ run: "old", name: null }),
  ]);
});
