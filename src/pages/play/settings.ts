/** What the playground looks at, and how. All but the reader's own files stands in the address, so a link shows the same. */
import { effect, signal } from "@preact/signals";
import {
  choice,
  expected,
  invalidOption,
  shown,
  type Whole,
} from "../../api/option-kinds.ts";
import {
  readOptionText,
  type TextOption,
  textName,
  writeQuery,
} from "../../api/option-text.ts";
import { ANALYZE_OPTIONS } from "../../api/options.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../api/scheme.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import {
  DISTRIBUTIONS,
  type DistributionName,
  type Draws,
} from "./distributions.ts";

const NAMES = Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[];
const query = new URLSearchParams(location.search);

/** What a link says that nothing here can be: what is shown in its place is the default. */
export const linkTroubles: string[] = [];

/** What the link says of an option; undefined where it says nothing, or nothing that can be. */
function linked(name: string, option: TextOption["option"]): unknown {
  const text = query.get(name);
  if (text === null || option.kind === "patterns") return undefined;
  const value = readOptionText(option, text);
  if (value === undefined) {
    const expectation = `\`${name}\` of the link to be ${expected(option)}`;
    linkTroubles.push(invalidOption(expectation, shown(text)).message);
  }
  return value;
}

/** What is not told has the API's default. */
export const scheme = signal<SchemeOptions>(
  Object.fromEntries(
    NAMES.flatMap((name) => {
      const value = linked(textName(name), SCHEME_OPTIONS[name]);
      return value === undefined ? [] : [[name, value]];
    }),
  ),
);

function whole(
  text: string,
  least: number,
  most: number,
  fallback: number,
): Whole & { default: number } {
  return { kind: "whole", text, least, most, default: fallback };
}

/** By their names in the address. */
export const PLACES = {
  distribution: choice(
    Object.keys(DISTRIBUTIONS) as DistributionName[],
    "Whose draws",
    "normal",
  ),
  rows: whole("Rows", 1, 4096, 256),
  columns: whole("Columns", 1, 4096, 256),
  draw: whole("Seed of the draws", 0, 999_999_999, 0),
  block: whole("Walk through block", 0, 999_999, 0),
} as const;

function placed<Name extends keyof typeof PLACES>(
  name: Name,
): (typeof PLACES)[Name]["default"] {
  const option = PLACES[name];
  return (
    (linked(name, option) as typeof option.default | undefined) ??
    option.default
  );
}

export const draws = signal<Draws>({
  distribution: placed("distribution"),
  rows: placed("rows"),
  columns: placed("columns"),
  seed: placed("draw"),
});
/** The block that is walked through. */
export const block = signal(placed("block"));

/** The reader's own: files by name, and of which of them which tensor. */
export const files = signal<ReadonlyMap<string, File>>(new Map());
export const chosenFile = signal<string | undefined>(undefined);
export const chosenTensor = signal<string | undefined>(undefined);

effect(() => {
  const { distribution, rows, columns, seed } = draws.value;
  const place = { distribution, rows, columns, draw: seed, block: block.value };
  const told = new URLSearchParams(writeQuery(ANALYZE_OPTIONS, scheme.value));
  for (const [name, value] of Object.entries(place))
    if (value !== PLACES[name as keyof typeof PLACES].default)
      told.set(name, String(value));
  const text = told.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
});
