/** Pages of which programs write parts, each between two marks of its own. */
import { readFileSync, writeFileSync } from "node:fs";
import { format } from "prettier";

export type Marks = { begin: string; end: string };

/** Of what `npm run bench` writes into a page that a person names. */
export const BENCH_MARKS: Marks = {
  begin: "<!-- bench: written by `npm run bench -- --markdown FILE` -->",
  end: "<!-- bench: end -->",
};

/** Of a section of a page that one program writes. */
export function marksOf(section: string): Marks {
  return { begin: `<!-- ${section} -->`, end: `<!-- ${section} end -->` };
}

/** Where they begin in a page. Errors: it has not both, in this order */
export function checkMarks(
  file: string,
  page: string,
  marks: Marks,
): { begin: number; end: number } {
  const begin = page.indexOf(marks.begin);
  const end = page.indexOf(marks.end);
  if (begin < 0 || end < begin) {
    throw new Error(
      `Expected the lines "${marks.begin}" and "${marks.end}" in ${file}, in this order`,
    );
  }
  return { begin, end };
}

/** Replace what stands between the marks of each part of a page. Errors: as `checkMarks`, and nothing is written */
export async function updatePage(
  file: string,
  parts: readonly (readonly [Marks, string])[],
): Promise<void> {
  let page = readFileSync(file, "utf8");
  for (const [marks, text] of parts) {
    const { begin, end } = checkMarks(file, page, marks);
    page = `${page.slice(0, begin)}${marks.begin}\n\n${text}\n\n${page.slice(end)}`;
  }
  writeFileSync(file, await format(page, { parser: "markdown" }));
}
