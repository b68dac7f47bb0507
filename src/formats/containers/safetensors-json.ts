/** The JSON of a safetensors header, as strict as the reference implementation. */
import { isObject } from "../../api/json.ts";
import { AppError } from "../../api/errors.ts";
import { malformedFile, shownJson } from "./malformed.ts";

const malformed = malformedFile("safetensors");

/** Of one file: what the header becomes in memory must leave room in an isolate. */
export const MAX_TENSORS = 16_384;

/**
 * The members of a header's outermost object, not checked further.
 * Errors: `malformed_body` for what is no JSON object in UTF-8 or has a name twice, `body_too_large` for
 * more tensors than an isolate has room for
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

/** Before it is parsed, which is what takes the memory: by a member that each tensor has. */
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
 * The first name that the outermost object of valid JSON `text` has twice, quoted; `JSON.parse`
 * would silently keep the last.
 */
function duplicateMember(text: string): string | undefined {
  const names = new Set<string>();
  let depth = 0;
  // Strings with what makes them names, and the brackets outside of strings.
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
