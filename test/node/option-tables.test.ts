/** The package's page of the API says what the declarations say. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { RunClient } from "../../src/client/run-client.ts";
import { pageOfTables } from "../support/option-tables.ts";

const PAGE = join(import.meta.dirname, "../../docs/package/API.md");

test("API.md has every option and preset as declared; `node test/support/option-tables.ts && npm run format` writes it", async () => {
  const page = readFileSync(PAGE, "utf8");
  const tables = await format(pageOfTables(page), { parser: "markdown" });
  expect(page).toBe(tables);
});

test("API.md names every method of the client, and none but these", () => {
  const [, client] = readFileSync(PAGE, "utf8").split("## `mxfp4-edge/client`");
  const sections = client!.split("`run(id)` has");
  const named = sections.map((section) =>
    [...section.matchAll(/^\| (`[^|]*`) +\|/gm)]
      .flatMap(([, cell]) => cell!.split(", "))
      .map((name) => name.replaceAll("`", "").trim()),
  );
  const methodsOf = (...classes: { prototype: object }[]) =>
    classes
      .flatMap(({ prototype }) => Object.getOwnPropertyNames(prototype))
      .filter((name) => name !== "constructor");
  const methods = [methodsOf(Client, Mxfp4Edge), methodsOf(RunClient)];
  expect(named.map((names) => names.toSorted())).toEqual(
    methods.map((names) => names.toSorted()),
  );
});
