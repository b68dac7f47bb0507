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
import { defaultScale, schemeOf } from "../blocks/scheme.ts";
import type { NamedScheme } from "./judge.ts";

const MAX_SCHEMES = 16;

/** Options that a list may change, by their names there. */
const CHOICES = new Map(
  (Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[])
    .filter((field) => field !== "seed")
    .map((field) => [textName(field), field]),
);

/** Without names, only the base; with names, each scheme has the base's seed. */
export function namedSchemes(
  base: Scheme,
  names?: readonly string[],
): NamedScheme[] {
  if (names === undefined) return [{ name: "query", scheme: base }];
  const items = names.flatMap((item) =>
    item === "all" ? PRESET_NAMES : [item],
  );
  if (items.length > MAX_SCHEMES) {
    throw invalidCompare(`at most ${MAX_SCHEMES} schemes`, `${items.length}`);
  }
  return items.map((name) => ({
    name,
    scheme: isPreset(name)
      ? schemeOf({ preset: name, seed: base.seed })
      : changed(base, name),
  }));
}

function isPreset(name: string): name is PresetName {
  return PRESET_NAMES.includes(name as PresetName);
}

/** The base, changed by a list of options. */
function changed(base: Scheme, list: string): Scheme {
  const told: Partial<Record<keyof Scheme, unknown>> = {};
  for (const each of list.split(";")) {
    const [name = "", value] = each.split("=");
    const field = CHOICES.get(name);
    if (field === undefined || value === undefined) {
      throw invalidCompare(
        `\`all\`, ${PRESET_NAMES.join(", ")}, or ${[...CHOICES.keys()].join(", ")} with a value`,
        `"${each}"`,
      );
    }
    const option = SCHEME_OPTIONS[field];
    told[field] = readOptionText(option, value);
    if (told[field] === undefined)
      throw invalidCompare(`${name} as ${expected(option)}`, `"${value}"`);
  }
  const scheme = { ...base, ...told } as Scheme;
  return "rounding" in told && !("scale" in told)
    ? { ...scheme, scale: defaultScale(scheme.rounding) }
    : scheme;
}

function invalidCompare(expected: string, got: string): AppError {
  return invalidOption(`\`compare\` to have ${expected}`, got);
}
