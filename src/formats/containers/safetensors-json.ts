/** Parses the JSON of a safetensors header, as strictly as the reference implementation. */
import { isObject } from "../../api/json.ts";
import { AppError } from "../../api/errors.ts";
import { malformedFile, shownJson } from "./malformed.ts";

const malformed = malformedFile("safetensors");

/** Limit of tensors, so that the parsed header fits in an isolate's memory. */
export const MAX_TENSORS = 16_384;

/**
 * The members of a header's outermost object, unchecked. Errors: `malformed_body` if it is not a JSON object in UTF-8
 * or has a duplicate name; `body_too_large` for more tensors than an isolate can hold
 */
export function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytes,
    );
    checkTensorCount(text);
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
  const duplicate = duplicateMember(text);
  if (duplicate !== undefined) {
    throw malformed("each name once in the header", `${duplicate} twice`);
  }
  return header;
}

/** Checked before parsing, which takes the memory, by counting a member that each tensor has. */
function checkTensorCount(text: string): void {
  const member = '"data_offsets"';
  let count = 0;
  for (
    let at = text.indexOf(member);
    at >= 0;
    at = text.indexOf(member, at + member.length)
  ) {
    if (++count > MAX_TENSORS) {
      throw new AppError(
        "body_too_large",
        `Expected at most ${MAX_TENSORS} tensors in one file, got more; split it`,
      );
    }
  }
}

/**
 * The first duplicate name in the outermost object of valid JSON `text`, quoted; `JSON.parse` would silently keep the
 * last.
 */
function duplicateMember(text: string): string | undefined {
  const names = new Set<string>();
  let depth = 0;
  // Matches strings, with the colon that makes them names, and brackets outside strings.
  for (const [token, string, colon] of text.matchAll(
    /("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g,
  )) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (colon !== undefined && depth === 1) {
      const name = JSON.parse(string!) as string;
      if (names.has(name)) return JSON.stringify(name);
      names.add(name);
    }
  }
  return undefined;
}
