import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { Schema } from "../../src/objects/platform/schema.ts";
import { bindings } from "../support/run.ts";

afterEach(reset);

const STEPS = [
  (sql: SqlStorage) => sql.exec("CREATE TABLE things (name TEXT)"),
  (sql: SqlStorage) =>
    sql.exec("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 1"),
];
const FIRST = new Schema("things", STEPS.slice(0, 1));
const SECOND = new Schema("things", STEPS);

/** In the storage of an object that has nothing. */
function withStorage<T>(body: (storage: DurableObjectStorage) => T) {
  const stub = bindings.RUN.getByName(crypto.randomUUID());
  return runInDurableObject(stub, (_object, { storage }) => body(storage));
}

const columns = ({ sql }: DurableObjectStorage) =>
  sql.exec("SELECT * FROM things").columnNames;
const noted = ({ sql }: DurableObjectStorage) =>
  sql.exec("SELECT version FROM schema").one().version;
const tables = ({ sql }: DurableObjectStorage) =>
  sql
    .exec("SELECT name FROM sqlite_master WHERE name IN ('things', 'schema')")
    .toArray().length;

test("asking for state makes none, and making it makes the latest", () =>
  withStorage((storage) => {
    expect(SECOND.open(storage)).toBe(false);
    expect(tables(storage)).toBe(0);
    SECOND.ensure(storage);
    expect([columns(storage), noted(storage)]).toEqual([["name", "size"], 2]);
    expect(SECOND.open(storage)).toBe(true);
  }));

test("what an earlier version left is brought up to date once, what it holds with it", () =>
  withStorage((storage) => {
    FIRST.ensure(storage);
    storage.sql.exec("INSERT INTO things VALUES ('old')");
    expect(SECOND.open(storage)).toBe(true);
    expect(SECOND.open(storage)).toBe(true);
    expect(storage.sql.exec("SELECT * FROM things").toArray()).toEqual([
      { name: "old", size: 1 },
    ]);
    expect(noted(storage)).toBe(2);
  }));

test("tables without a version are of the first, and get one", () =>
  withStorage((storage) => {
    STEPS[0]!(storage.sql);
    expect(FIRST.open(storage)).toBe(true);
    expect([columns(storage), noted(storage)]).toEqual([["name"], 1]);
    storage.sql.exec("DROP TABLE schema");
    expect(SECOND.open(storage)).toBe(true);
    expect([columns(storage), noted(storage)]).toEqual([["name", "size"], 2]);
  }));

test("a step that fails leaves all as it was", () =>
  withStorage((storage) => {
    FIRST.ensure(storage);
    const broken = new Schema("things", [
      ...STEPS,
      () => {
        throw new Error("broken");
      },
    ]);
    expect(() => broken.open(storage)).toThrow("broken");
    expect([columns(storage), noted(storage)]).toEqual([["name"], 1]);
  }));

test("what a later version left is refused, and stays", () =>
  withStorage((storage) => {
    SECOND.ensure(storage);
    expect(() => FIRST.open(storage)).toThrow(
      "Expected state of at most version 1, got version 2, which a later release of mxfp4-edge wrote: deploy that release",
    );
    expect(noted(storage)).toBe(2);
  }));
