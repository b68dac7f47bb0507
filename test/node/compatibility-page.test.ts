/** docs/compatibility.md and the presets say the same. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readOptions } from "../../src/api/option-text.ts";
import { QUANTIZE_OPTIONS } from "../../src/api/options.ts";
import {
  PRESET_NAMES,
  SCHEME_PRESETS,
  type SchemePreset,
} from "../../src/api/presets.ts";
import {
  LAYOUTS,
  NEAREST_MODES,
  SCALE_RULES,
  TARGETS,
} from "../../src/api/scheme.ts";
import { BLOCK_LAYOUTS } from "../../src/formats/blocks/block-layouts.ts";
import { schemeOf } from "../../src/formats/blocks/scheme.ts";

const page = readFileSync(
  join(import.meta.dirname, "../../docs/compatibility.md"),
  "utf8",
);

/** The preset, options and layout of each ecosystem that has a preset. */
const ROWS = [
  ...page.matchAll(/^\|[^|]*\| +`([\w-]+)` +\|([^|]*)\|([^|]*)\|$/gm),
]
  .map(([, preset, options, layout]) => ({
    preset: PRESET_NAMES.find((each) => each === preset),
    query: new URLSearchParams(/`([^`]*)`/.exec(options!)?.[1] ?? ""),
    layout: layout!.trim(),
  }))
  .filter(({ preset }) => preset !== undefined);

test("every preset is in it", () => {
  expect(new Set(ROWS.map(({ preset }) => preset))).toEqual(
    new Set(PRESET_NAMES),
  );
});

test.each(ROWS)("$preset: $query", ({ preset, query, layout }) => {
  const told = readOptions(QUANTIZE_OPTIONS, (name) => query.getAll(name));
  expect(schemeOf(told)).toEqual(schemeOf({ preset }));
  const chosen: SchemePreset = SCHEME_PRESETS[preset!];
  if (told.layout !== undefined) expect(chosen.layout).toBe(told.layout);
  if (layout === `\`${preset}\``) expect(chosen.layout).toBe(preset);
});

/** The first column of the table whose head begins with `name`. */
function column(name: string): string[] {
  const [, rows = ""] =
    new RegExp(`^\\| \`${name}\` .*\\n\\|[- |]*\\n((?:\\|.*\\n)+)`, "m").exec(
      page,
    ) ?? [];
  return [...rows.matchAll(/^\| `([^`]+)`/gm)].map(([, value]) => value!);
}

test("every scale rule, rounding to nearest, layout and loader of directories is in it", () => {
  expect(column("scale")).toEqual([...SCALE_RULES]);
  expect(column("rounding")).toEqual([...NEAREST_MODES]);
  expect(column("layout").toSorted()).toEqual([...LAYOUTS].toSorted());
  expect(column("--for")).toEqual([...TARGETS]);
});

test("the layout that a preset sets is the one that it says", () => {
  const [sentence] = /^`preset` sets[^]*?the default/m.exec(page)!;
  const [own, compressed] = sentence.split(";");
  const named = (text: string) =>
    [...text.matchAll(/`([\w-]+)`/g)].map(([, name]) => name!);
  const setting = (layout: (name: string) => string) =>
    PRESET_NAMES.filter((name) => {
      const preset: SchemePreset = SCHEME_PRESETS[name];
      return preset.layout === layout(name);
    }).toSorted();
  const [, ...owners] = named(own!);
  expect(owners.toSorted()).toEqual(
    setting((name) => name).filter((name) => name !== "compressed-tensors"),
  );
  expect(named(compressed!).toSorted()).toEqual(
    setting(() => "compressed-tensors"),
  );
  expect(BLOCK_LAYOUTS[0]!.name).toBe("gpt-oss");
});
