/** The playground's settings. All but the user's files are in the URL, so a link shows the same. */
import { effect, signal } from "@preact/signals";
import { choice } from "../../api/option-kinds.ts";
import { textName, writeQuery } from "../../api/option-text.ts";
import { ANALYZE_OPTIONS } from "../../api/options.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../api/scheme.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import { LinkReader, wholeOption } from "../shell/link.ts";
import {
  DISTRIBUTIONS,
  type DistributionName,
  type Draws,
} from "./distributions.ts";

const NAMES = Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[];
const link = new LinkReader();
/** Messages about invalid values in the link, which are replaced by defaults. */
export const linkTroubles: readonly string[] = link.troubles;

/** Missing options have the API's defaults. */
export const scheme = signal<SchemeOptions>(
  Object.fromEntries(
    NAMES.flatMap((name) => {
      const value = link.value(textName(name), SCHEME_OPTIONS[name]);
      return value === undefined ? [] : [[name, value]];
    }),
  ),
);

/** By their names in the URL. */
export const PLACES = {
  distribution: choice(
    Object.keys(DISTRIBUTIONS) as DistributionName[],
    "Whose draws",
    "normal",
  ),
  rows: wholeOption("Rows", 1, 4096, 256),
  columns: wholeOption("Columns", 1, 4096, 256),
  draw: wholeOption("Seed of the draws", 0, 999_999_999, 0),
  block: wholeOption("Walk through block", 0, 999_999, 0),
} as const;

function placed<Name extends keyof typeof PLACES>(
  name: Name,
): (typeof PLACES)[Name]["default"] {
  const option = PLACES[name];
  return (
    (link.value(name, option) as typeof option.default | undefined) ??
    option.default
  );
}

export const draws = signal<Draws>({
  distribution: placed("distribution"),
  rows: placed("rows"),
  columns: placed("columns"),
  seed: placed("draw"),
});
/** Index of the block shown step by step. */
export const block = signal(placed("block"));

/** The user's files by name, and the selected file and tensor. */
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
