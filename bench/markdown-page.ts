import { readFileSync, writeFileSync } from "node:fs";
import { format } from "prettier";

export const BEGIN =
  "<!-- bench: written by `npm run bench -- --markdown FILE` -->";
export const END = "<!-- bench: end -->";

/** Where the two marks of a page are. Throws where there are none. */
export function checkMarks(
  file: string,
  page: string,
): { begin: number; end: number } {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) {
    throw new Error(
      `Expected the lines "${BEGIN}" and "${END}" in ${file}, in this order`,
    );
  }
  return { begin, end };
}

/** Replace what stands between the two marks of a page. */
export async function updatePage(file: string, tables: string): Promise<void> {
  const page = readFileSync(file, "utf8");
  const { begin, end } = checkMarks(file, page);
  const updated = `${page.slice(0, begin)}${BEGIN}\n\n${tables}\n\n${page.slice(end)}`;
  writeFileSync(file, await format(updated, { parser: "markdown" }));
}
