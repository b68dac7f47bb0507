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
