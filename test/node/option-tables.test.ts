/** The page of options says what the declarations say. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { expect, test } from "vitest";
import { pageOfTables } from "../support/option-tables.ts";

const PAGE = join(import.meta.dirname, "../../docs/package/API.md");

test("API.md has every option and preset as declared; `node test/support/option-tables.ts && npm run format` writes it", async () => {
  const page = readFileSync(PAGE, "utf8");
  const tables = await format(pageOfTables(page), { parser: "markdown" });
  expect(page).toBe(tables);
});
