/** What the playground looks at, and how. All but the reader's own files stands in the address, so a link shows the same. */
import { computed, effect, signal } from "@preact/signals";
import { readOptionText, textName, writeQuery } from "../../api/option-text.ts";
import { ANALYZE_OPTIONS, QUANTIZE_OPTIONS } from "../../api/options.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../api/scheme.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import { comparedSchemes } from "./compared-schemes.ts";
import { DISTRIBUTIONS, type Draws } from "./distributions.ts";

const NAMES = Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[];
const query = new URLSearchParams(location.search);

/** What is not told has the API's default. */
export const scheme = signal<SchemeOptions>(
  Object.fromEntries(
    NAMES.flatMap((name) => {
      const text = query.get(textName(name));
      const value =
        text === null ? undefined : readOptionText(SCHEME_OPTIONS[name], text);
      return value === undefined ? [] : [[name, value]];
    }),
  ),
);

const asked = query.get("distribution") ?? "";
export const draws = signal<Draws>({
  distribution:
    asked in DISTRIBUTIONS ? (asked as keyof typeof DISTRIBUTIONS) : "normal",
  rows: wholeOr("rows", 256),
  columns: wholeOr("columns", 256),
  seed: wholeOr("draw", 0),
});
/** The block that is walked through. */
export const block = signal(wholeOr("block", 0));

/** The reader's own: files by name, and of which of them which tensor. */
export const files = signal<ReadonlyMap<string, File>>(new Map());
export const chosenFile = signal<string | undefined>(undefined);
export const chosenTensor = signal<string | undefined>(undefined);

function wholeOr(name: string, fallback: number): number {
  const text = query.get(name);
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : fallback;
}

const DEFAULTS = {
  distribution: "normal",
  rows: 256,
  columns: 256,
  draw: 0,
  block: 0,
};

effect(() => {
  const { distribution, rows, columns, seed } = draws.value;
  const place = { distribution, rows, columns, draw: seed, block: block.value };
  const told = new URLSearchParams(writeQuery(ANALYZE_OPTIONS, scheme.value));
  for (const [name, value] of Object.entries(place))
    if (value !== DEFAULTS[name as keyof typeof DEFAULTS])
      told.set(name, String(value));
  const text = told.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
});

/** The name of what the API would be sent. */
export const sentFile = computed(() => chosenFile.value ?? "drawn.safetensors");

/** The commands that get of the API what the page shows, and the file that it saves. */
export const commands = computed(() => {
  const name = chosenTensor.value;
  const figures = writeQuery(ANALYZE_OPTIONS, {
    ...scheme.value,
    compare: comparedSchemes(scheme.value),
    ...(name !== undefined && { include: [name] }),
  });
  const file = writeQuery(QUANTIZE_OPTIONS, scheme.value);
  const quoted = sentFile.value.replaceAll("'", "'\\''");
  const curl = `curl -sS --data-binary '@${quoted}' -H 'Content-Type: application/octet-stream'`;
  return {
    analyze: `${curl} '${location.origin}/v1/analyze${figures}'`,
    quantize: `${curl} -o 'mxfp4-${quoted}' '${location.origin}/v1/quantize${file}'`,
  };
});
