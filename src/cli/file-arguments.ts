/** What the file commands can be told, and the options that follow from it. */
import { parseArgs } from "node:util";
import type { ArgsDef } from "citty";
import type {
  QuantizeOptions,
  RawOptions,
  SchemeOptions,
  SelectionOptions,
} from "../api/tensors.ts";
import { LAYOUTS } from "../formats/blocks/layout.ts";
import {
  MIN_SCALES,
  PRESCALES,
  PRESETS,
  type PresetName,
  ROUNDING_MODES,
  SCALE_RULES,
  SEGMENT_CHOICES,
} from "../formats/blocks/scheme.ts";

/** The command was not called as it can be. */
export class UsageError extends Error {}

/** As citty gives them: an option that was not there is undefined. */
export type Arguments = Record<string, unknown> & { _: string[] };

export const fileArguments = {
  file: {
    type: "positional",
    required: true,
    description: "safetensors, .npy, GGUF, or raw with --dtype and --shape",
  },
  url: {
    type: "string",
    valueHint: "URL",
    description: "Ask an edge instead of computing here",
  },
  token: {
    type: "string",
    valueHint: "TOKEN",
    description: "The edge's API_TOKEN (default: $MXFP4_EDGE_TOKEN)",
  },
} satisfies ArgsDef;

export const outputArguments = {
  output: {
    type: "string",
    alias: "o",
    valueHint: "FILE",
    required: true,
    description: "File to write",
  },
  force: { type: "boolean", description: "Replace the output if it is there" },
} satisfies ArgsDef;

export const schemeArguments = {
  preset: choices(Object.keys(PRESETS), "Choices that others make"),
  rounding: choices(ROUNDING_MODES, "Of elements"),
  scale: choices(SCALE_RULES, "How a block's exponent is found"),
  prescale: choices(PRESCALES, "Multiply before rounding"),
  "min-scale": choices(MIN_SCALES, "The least scale byte"),
  hadamard: choices(SEGMENT_CHOICES, "Length of an RHT segment; 0: none"),
  seed: {
    type: "string",
    valueHint: "N",
    description: "Of signs and stochastic rounding",
  },
} satisfies ArgsDef;

export const layoutArguments = {
  layout: choices(LAYOUTS, "How quantized tensors are arranged"),
} satisfies ArgsDef;

export const selectionArguments = {
  include: {
    type: "string",
    valueHint: "NAMES",
    description: "Tensors to work on, with * and ?, separated by commas",
  },
  exclude: {
    type: "string",
    valueHint: "NAMES",
    description: "Tensors to leave as they are",
  },
  dtype: choices(["f32", "f16", "bf16", "f64"], "Of a raw file"),
  shape: {
    type: "string",
    valueHint: "4,64",
    description: "Of a raw file",
  },
} satisfies ArgsDef;

/**
 * What the command was given; `include` and `exclude` that came more than once are put together.
 * Errors: `UsageError` for what `known` does not have, and for options without a value or repeated
 */
export function checkArguments(
  { args, rawArgs }: { args: Arguments; rawArgs: string[] },
  known: ArgsDef,
): Arguments {
  const given = optionsOf(rawArgs, known);
  if (args._.length > 1)
    throw new UsageError(`Expected one file, got ${args._.join(" ")}`);
  const checked = { ...args };
  for (const [name, values] of given) {
    if (name === "include" || name === "exclude")
      checked[name] = values.join(",");
    else if (values.length > 1)
      throw new UsageError(
        `Expected --${name} once, got it ${values.length} times`,
      );
  }
  return checked;
}

/** The values of each option as they were typed: citty keeps the last alone, and any name. */
function optionsOf(rawArgs: string[], known: ArgsDef): Map<string, string[]> {
  const options: Record<
    string,
    { type: "boolean" | "string"; short?: string }
  > = {};
  for (const [name, definition] of Object.entries(known)) {
    if (definition.type === "positional") continue;
    const type = definition.type === "boolean" ? "boolean" : "string";
    const short = "alias" in definition ? String(definition.alias) : undefined;
    options[name] = { type, ...(short === undefined ? {} : { short }) };
  }
  const { tokens } = parseArgs({
    args: rawArgs,
    options,
    strict: false,
    tokens: true,
  });
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName, inlineValue } = token;
    const option = options[name];
    if (option === undefined)
      throw new UsageError(
        `Expected an option of this command, got ${rawName}`,
      );
    const value = token.value ?? "";
    if (option.type === "boolean" && inlineValue)
      throw new UsageError(`Expected --${name} alone, got "${value}"`);
    if (
      option.type === "string" &&
      (!value || (!inlineValue && value.startsWith("--")))
    )
      throw new UsageError(`Expected a value after ${rawName}, got "${value}"`);
    given.set(name, [...(given.get(name) ?? []), value]);
  }
  return given;
}

export function schemeFrom(args: Arguments): SchemeOptions {
  const preset = args.preset as PresetName | undefined;
  const chosen = {
    rounding: args.rounding,
    scale: args.scale,
    prescale: numberFrom(args.prescale),
    minScale: numberFrom(args["min-scale"]),
    hadamard: numberFrom(args.hadamard),
    seed: wholeFrom(args, "seed"),
  } as SchemeOptions;
  const told = Object.entries(chosen).filter(
    ([, value]) => value !== undefined,
  );
  return { ...(preset && PRESETS[preset]), ...Object.fromEntries(told) };
}

export function quantizeOptionsFrom(args: Arguments): QuantizeOptions {
  const layout = args.layout as QuantizeOptions["layout"];
  return {
    ...schemeFrom(args),
    ...selectionFrom(args),
    ...(layout === undefined ? {} : { layout }),
  };
}

export function selectionFrom(args: Arguments): SelectionOptions & RawOptions {
  const { include, exclude, dtype, shape } = args as Record<
    string,
    string | undefined
  >;
  if ((dtype === undefined) !== (shape === undefined))
    throw new UsageError("Expected both --dtype and --shape, or neither");
  if (shape !== undefined && !/^\d{1,15}(,\d{1,15}){0,15}$/.test(shape))
    throw new UsageError(`Expected --shape as in 4,64, got "${shape}"`);
  return {
    ...(include === undefined ? {} : { include: include.split(",") }),
    ...(exclude === undefined ? {} : { exclude: exclude.split(",") }),
    ...(shape === undefined
      ? {}
      : {
          raw: {
            dtype: dtype as NonNullable<RawOptions["raw"]>["dtype"],
            shape: shape.split(",").map(Number),
          },
        }),
  };
}

/** An option of one of these. */
export function choices(
  values: readonly (string | number)[],
  description: string,
) {
  return { type: "enum", options: values.map(String), description } as const;
}

function numberFrom(value: unknown): number | undefined {
  return value === undefined ? undefined : Number(value);
}

function wholeFrom(args: Arguments, name: string): number | undefined {
  const text = args[name] as string | undefined;
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new UsageError(
    `Expected --${name} to be a whole number from 0 to 2^53 − 1, got "${text}"`,
  );
}
