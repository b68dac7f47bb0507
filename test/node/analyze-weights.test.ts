/** The figures of docs/analyze.md are those that its command prints. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import "../support/kernels-node.ts";
import { weightTables } from "../judges/analyze-weights.ts";

test("docs/analyze.md shows what analyzing the real weights gives", async () => {
  const page = readFileSync(
    join(import.meta.dirname, "../../docs/analyze.md"),
    "utf8",
  );
  for (const table of await weightTables()) expect(page).toContain(table);
});
