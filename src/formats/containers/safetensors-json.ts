/** Parses the JSON of a safetensors header, as strictly as the reference implementation. */
import { isObject, MAX_JSON_LEVELS, stringEnd } from "../../api/json.ts";
import { AppError } from "../../api/errors.ts";
import { malformedFile, quoted, shownJson } from "./malformed.ts";

const malformed = malformedFile("safetensors");

/** The member that is no tensor. */
export const METADATA = "__metadata__";

/** Limit of tensors, so that the parsed header fits in an isolate's memory. */
export const MAX_TENSORS = 16_384;
/** Limit of members and items, likewise: a tensor of 8 dimensions has 14, and our record of it is one more. */
const MAX_VALUES = 20 * MAX_TENSORS;

/** Of each tensor; a whole number is written as one, without sign, fraction or exponent. */
const WHOLE_NUMBERS = ["shape", "data_offsets"];
const NUMBER = /[-+\d][-+.\deE]*/y;
const COLON = /\s*:/y;

/** An object or array that the scan is in. */
type Open = {
  /** Of an object, all so far. */
  names: Set<string> | undefined;
  /** Of an object, whose value the scan is in. */
  name: string;
};

/**
 * The members of a header's outermost object, unchecked. Errors: `malformed_body` if it is not a JSON object in UTF-8,
 * has a duplicate name, or sizes and positions that are not written as whole numbers; `body_too_large` for more than
 * an isolate can hold
 */
export function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    const text = new TextDecoder("utf-8", {
      fatal: true,
      ignoreBOM: true,
    }).decode(bytes);
    scan(text);
    header = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError(
      "malformed_body",
      `Expected a safetensors header of JSON in UTF-8, got ${bytes.length} other bytes`,
      { cause },
    );
  }
  if (!isObject(header))
    throw malformed("a header that is a JSON object", shownJson(header));
  return header;
}

/**
 * Checks what parsing does not tell: `JSON.parse` keeps the last of duplicate names and reads 2.0 as 2. Also bounds what
 * parsing takes. Grammar is left to the parser. Errors: as of `parseHeader`, and `SyntaxError` for a malformed name
 */
function scan(text: string): void {
  const open: Open[] = [];
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === "{" || character === "[") {
      open.push({
        names: character === "{" ? new Set() : undefined,
        name: "",
      });
      if (open.length > MAX_JSON_LEVELS)
        throw malformed(`JSON of at most ${MAX_JSON_LEVELS} levels`, "more");
    } else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const end = stringEnd(text, at);
      COLON.lastIndex = end;
      if (COLON.test(text))
        enter(JSON.parse(text.slice(at, end)) as string, open);
      at = end - 1;
    } else if (/[-+\d]/.test(character)) {
      NUMBER.lastIndex = at;
      const [number] = NUMBER.exec(text)!;
      checkWhole(number, open);
      at += number.length - 1;
    }
    if (/[{[,]/.test(character) && ++values > MAX_VALUES)
      throw new AppError(
        "body_too_large",
        `Expected a safetensors header of at most ${MAX_VALUES} members and items, got more; split the file`,
      );
  }
}

/** A member of the innermost object begins. */
function enter(name: string, open: readonly Open[]): void {
  const inner = open.at(-1);
  if (!inner?.names) return;
  if (inner.names.has(name))
    throw malformed(
      "each name once in the header",
      `${quoted(name)} twice${placeOf(open)}`,
    );
  inner.names.add(name);
  inner.name = name;
  const tensors = inner.names.size - Number(inner.names.has(METADATA));
  if (open.length === 1 && tensors > MAX_TENSORS)
    throw new AppError(
      "body_too_large",
      `Expected at most ${MAX_TENSORS} tensors in one file, got more; split it`,
    );
}

function checkWhole(number: string, open: readonly Open[]): void {
  const [tensor, member] = open;
  const isTold = open.length === 3 && WHOLE_NUMBERS.includes(member!.name);
  if (isTold && !/^\d+$/.test(number))
    throw malformed(
      `the ${member!.name} of tensor ${quoted(tensor!.name)} in whole numbers`,
      number.slice(0, 80),
    );
}

/** Of the innermost object, unless it is the outermost. */
function placeOf(open: readonly Open[]): string {
  return open.length > 1 ? ` in ${quoted(open[0]!.name)}` : "";
}
