/**
 * Schemes to compare: names of presets, `all`, or options that differ from a base, as in
 *
 *   ocp, gpt-oss, rounding=stochastic;hadamard=64
 */
import type { AppError } from "../../api/errors.ts";
import { expected, invalidOption } from "../../api/option-kinds.ts";
import { readOptionText, textName } from "../../api/option-text.ts";
import { PRESET_NAMES, type PresetName } from "../../api/presets.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../api/scheme.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import { schemeOf } from "../blocks/scheme.ts";
import type { NamedScheme } from "./judge.ts";

const MAX_SCHEMES = 16;

/** Options that a list may change, by their names there. */
const CHOICES = new Map(
  (Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[])
    .filter((field) => field !== "seed")
    .map((field) => [textName(field), field]),
);

/** Without names, only the scheme of the options; with names, each has their seed. */
export function namedSchemes(
  options: SchemeOptions,
  names?: readonly string[],
): NamedScheme[] {
  if (names === undefined)
    return [{ name: "query", scheme: schemeOf(options) }];
  const items = names.flatMap((item) =>
    item === "all" ? PRESET_NAMES : [item],
  );
  if (items.length > MAX_SCHEMES) {
    throw invalidCompare(`at most ${MAX_SCHEMES} schemes`, `${items.length}`);
  }
  const { seed } = options;
  return items.map((name) => ({
    name,
    scheme: schemeOf(
      isPreset(name)
        ? { preset: name, seed }
        : { ...options, ...changes(name) },
    ),
  }));
}

function isPreset(name: string): name is PresetName {
  return PRESET_NAMES.includes(name as PresetName);
}

/** What a list of options changes. */
function changes(list: string): SchemeOptions {
  const told: Partial<Record<keyof Scheme, unknown>> = {};
  for (const each of list.split(";")) {
    const [name = "", ...values] = each.split("=");
    const field = CHOICES.get(name);
    if (field === undefined || values.length === 0) {
      throw invalidCompare(
        `\`all\`, ${PRESET_NAMES.join(", ")}, or ${[...CHOICES.keys()].join(", ")} with a value`,
        `"${each}"`,
      );
    }
    const option = SCHEME_OPTIONS[field];
    const value = values.join("=");
    if (field in told)
      throw invalidCompare(`${name} once in a scheme`, `"${list}"`);
    told[field] = readOptionText(option, value);
    if (told[field] === undefined)
      throw invalidCompare(`${name} as ${expected(option)}`, `"${value}"`);
  }
  return told as SchemeOptions;
}

function invalidCompare(expected: string, got: string): AppError {
  return invalidOption(`\`compare\` to have ${expected}`, got);
}
