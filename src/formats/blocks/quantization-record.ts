/**
 * The metadata of a quantized file, so that decoding needs nothing else:
 *
 *   mxfp4.version                 "1"
 *   mxfp4.layout                  "gpt-oss", or another of block-layouts.ts
 *   mxfp4.format                  if it is not "mxfp4"
 *   mxfp4.rounding, .scale, .prescale, .hadamard, .seed, .include, .exclude   the options
 *   mxfp4.min_scale               "1" if it was set
 *   mxfp4.output_type             in a GGUF: "q8_0" | "keep" | "mxfp4"
 *   mxfp4.tensor_type             in a GGUF whose tensors were given types by name: those types
 *   mxfp4.nonfinite               if non-finite values were kept: by tensor, how many there are and the
 *                                 first; or "unchecked"
 *   mxfp4.tensor.<x>              {"dtype", "shape", "position"} of the original tensor, and "padded",
 *                                 the present length of its rows, if they were padded with zeros
 *   mxfp4.plain                   "false" if a plain reader of the layout gets other values,
 *   mxfp4.plain_reason            and why
 *   mxfp4.unbiased                "true" if E[decoded] is the input
 *   mxfp4.unbiased_reason         why it is not
 */
import { AppError } from "../../api/errors.ts";
import { type AllOf, expected } from "../../api/option-kinds.ts";
import { readOptionText } from "../../api/option-text.ts";
import type { SELECTION_OPTIONS } from "../../api/options.ts";
import {
  type GgufOutput,
  type Layout,
  LAYOUTS,
  SCHEME_OPTIONS,
  type Scheme,
} from "../../api/scheme.ts";
import type { DecodingScheme } from "./block-pieces.ts";
import type { Metadata } from "../containers/safetensors-reader.ts";
import { bias, notPlain } from "./scheme.ts";
import type { TensorHead } from "../tensor.ts";

const PREFIX = "mxfp4.";
const TENSOR_PREFIX = "mxfp4.tensor.";
export const RECORD_VERSION = "1";

const SCHEME_NAMES = Object.keys(SCHEME_OPTIONS) as (keyof Scheme)[];

/**
 * Options that are recorded even at their default. Later options are only recorded if set, so that earlier files'
 * bytes stay the same.
 */
const ALWAYS: ReadonlySet<string> = new Set([
  "rounding",
  "scale",
  "prescale",
  "hadamard",
  "seed",
]);

/** The metadata entries of a scheme. */
export function writeScheme(
  scheme: Scheme,
  layout: Layout,
  { include, exclude }: AllOf<typeof SELECTION_OPTIONS>,
  padsRows: boolean,
): [string, string][] {
  const reasons = notPlain(scheme, padsRows);
  const biased = bias(scheme);
  const pairs: [string, string | undefined][] = [
    ["version", RECORD_VERSION],
    ["layout", layout],
    ...SCHEME_NAMES.map((name): [string, string | undefined] => {
      const isToldAnyway =
        !ALWAYS.has(name) && scheme[name] === SCHEME_OPTIONS[name].default;
      return [recordName(name), isToldAnyway ? undefined : `${scheme[name]}`];
    }),
    ["include", include.length > 0 ? JSON.stringify(include) : undefined],
    ["exclude", exclude.length > 0 ? JSON.stringify(exclude) : undefined],
    ["plain", `${reasons.length === 0}`],
    ["plain_reason", reasons.length > 0 ? reasons.join("; ") : undefined],
    ["unbiased", `${biased === undefined}`],
    ["unbiased_reason", biased],
  ];
  return pairs.flatMap(([key, value]) =>
    value === undefined ? [] : [[PREFIX + key, value]],
  );
}

/** The entry that replaces the layout after a repack. */
export function layoutRecord(layout: Layout): [string, string] {
  return [`${PREFIX}layout`, layout];
}

/** Entries for a GGUF: the type of its output head and token table, and the types given by name. */
export function ggufRecords(
  output: GgufOutput,
  types: readonly string[],
): [string, string][] {
  return [
    [`${PREFIX}output_type`, output],
    ...(types.length === 0
      ? []
      : [[`${PREFIX}tensor_type`, JSON.stringify(types)] as [string, string]]),
  ];
}

/** The entry about non-finite values. */
export function nonfiniteRecord(text: string): [string, string] {
  return [`${PREFIX}nonfinite`, text];
}

/** The entry about one original tensor. */
export function writeTensorRecord(
  { name, dtype, shape }: TensorHead,
  position: number,
  padded: number,
): [string, string] {
  const record = { dtype, shape, position };
  const whole = shape.at(-1) === padded;
  return [
    `${TENSOR_PREFIX}${name}`,
    JSON.stringify(whole ? record : { ...record, padded }),
  ];
}

/** Whether this project wrote the file, so that its metadata names the quantized tensors. */
export function isRecorded(metadata: ReadonlyMap<string, unknown>): boolean {
  return [...metadata.keys()].some(isRecordKey);
}

/** Whether this project wrote the metadata key. */
export function isRecordKey(key: string): boolean {
  return key.startsWith(PREFIX);
}

/** Errors: `name_collision` if the file is already quantized */
export function checkUnrecorded(keys: Iterable<string>): void {
  const key = [...keys].find(isRecordKey);
  if (key === undefined) return;
  throw new AppError(
    "name_collision",
    `Expected a file that is not yet MXFP4, got metadata "${key}"; dequantize it first`,
  );
}

/** The scheme with which files without metadata are decoded. */
export const PLAIN: DecodingScheme = { prescale: 1, hadamard: 0, seed: 0 };

/** Reads what `writeScheme` wrote. */
export function readScheme(metadata: Metadata): Scheme & { layout: Layout } {
  readChoice(metadata, "version", [RECORD_VERSION]);
  const layout = readChoice(metadata, "layout", LAYOUTS);
  const values = SCHEME_NAMES.map((name) => [name, readOption(metadata, name)]);
  return { layout, ...(Object.fromEntries(values) as Scheme) };
}

function readOption(metadata: Metadata, name: keyof Scheme): unknown {
  const option = SCHEME_OPTIONS[name];
  const key = recordName(name);
  const text = metadata.get(PREFIX + key);
  if (text === undefined && !ALWAYS.has(name)) return option.default;
  const value = readOptionText(option, text ?? "");
  if (value === undefined) throw malformed(key, expected(option), text);
  return value;
}

/** For example `min_scale` for `minScale`. */
function recordName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The quantized tensors' names and their records, unchecked. */
export function readTensorRecords(metadata: Metadata): Map<string, string> {
  const records = [...metadata].filter(([key]) =>
    key.startsWith(TENSOR_PREFIX),
  );
  return new Map(
    records.map(([key, record]) => [key.slice(TENSOR_PREFIX.length), record]),
  );
}

/** The shape in a record, checked: it may differ from `outer` and rows of `padded` only by the rows' padding. */
export function readShape(
  name: string,
  record: string,
  outer: readonly number[],
  padded: number,
  unit: number,
): readonly number[] {
  const shape = shapeOf(record);
  const k = shape?.at(-1);
  const fits =
    shape !== undefined &&
    k !== undefined &&
    shape.slice(0, -1).join() === outer.join() &&
    Math.ceil(k / unit) * unit === padded;
  if (!fits) {
    const rows = `${Math.max(0, padded - unit + 1)} to ${padded}`;
    throw malformed(
      `tensor.${name}`,
      `a shape of [${[...outer, rows].join(", ")}]`,
      record,
    );
  }
  return shape;
}

export function missingPart(
  name: string,
  expected: readonly string[],
): AppError {
  return malformed(
    `tensor.${name}`,
    `about tensors ${expected.map((each) => `"${each}"`).join(" and ")}`,
    "none",
  );
}

function shapeOf(record: string): number[] | undefined {
  try {
    const value = JSON.parse(record) as { shape?: unknown } | null;
    const shape = value?.shape;
    return Array.isArray(shape) &&
      shape.every((size) => Number.isSafeInteger(size) && size >= 0)
      ? (shape as number[])
      : undefined;
  } catch {
    return undefined; // not JSON, so not a record
  }
}

function readChoice<T extends string | number>(
  metadata: Metadata,
  key: string,
  choices: readonly T[],
): T {
  const value = metadata.get(PREFIX + key);
  const choice = choices.find((each) => `${each}` === value);
  if (choice === undefined) throw malformed(key, choices.join(" or "), value);
  return choice;
}

function malformed(
  key: string,
  expected: string,
  got: string | undefined,
): AppError {
  return new AppError(
    "malformed_body",
    `Expected metadata "${PREFIX}${key}" to be ${expected}, got ${got === undefined ? "nothing" : `"${got.slice(0, 80)}"`}`,
  );
}
