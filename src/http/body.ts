/** Reads request bodies up to a limit. */
import type { Context } from "hono";
import type * as z from "zod";
import { AppError, type ErrorCode, messageOf } from "../api/errors.ts";
import { checkSchema } from "./valid.ts";

const FIRST_BYTES = 64 * 1024;
const MAX_JSON_BYTES = 64 * 1024;
/** zod ignores it, even in a strict object. */
const UNSEEN_NAME = "__proto__";

/**
 * The whole body, in a buffer of its own. A body whose Content-Length is too large is refused before it is read; a
 * chunked one as soon as it exceeds the limit. Errors: `body_too_large`, `malformed_body` (invalid Content-Length, or broken
 * off)
 */
export async function readBody(
  c: Context,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const declared = declaredBytes(c);
  if (declared !== undefined && declared > maxBytes)
    throw tooLarge(maxBytes, `${declared}`);
  try {
    if (declared === undefined)
      return await readChunked(c.req.raw.body, maxBytes);
    // The runtime reads the declared length into one buffer; collecting chunks would need twice the memory.
    return new Uint8Array(await c.req.raw.arrayBuffer());
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError(
      "malformed_body",
      `Expected a whole body${declared === undefined ? "" : ` of ${declared} bytes`}, got one that broke off`,
      { cause },
    );
  }
}

async function readChunked(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!body) return new Uint8Array(0);
  let bytes = new Uint8Array(Math.min(FIRST_BYTES, maxBytes));
  let length = 0;
  for await (const chunk of body) {
    const end = length + chunk.length;
    if (end > maxBytes) throw tooLarge(maxBytes, "more");
    if (end > bytes.length) {
      const larger = new Uint8Array(
        Math.min(maxBytes, Math.max(end, 2 * bytes.length)),
      );
      larger.set(bytes.subarray(0, length));
      bytes = larger;
    }
    bytes.set(chunk, length);
    length = end;
  }
  return length === bytes.length ? bytes : bytes.slice(0, length);
}

/** The body as JSON, not checked. Errors: `malformed_json`, `body_too_large`; `code` for a name that schemas ignore */
async function readJson(c: Context, code: ErrorCode): Promise<unknown> {
  const bytes = await readBody(c, MAX_JSON_BYTES);
  let hasUnseen = false;
  try {
    const text = new TextDecoder("utf-8", {
      fatal: true,
      ignoreBOM: false,
    }).decode(bytes);
    const value: unknown = JSON.parse(text, (name, each: unknown) => {
      hasUnseen ||= name === UNSEEN_NAME;
      return each;
    });
    if (!hasUnseen) return value;
  } catch (cause) {
    throw new AppError(
      "malformed_json",
      `Expected a body of JSON in UTF-8, got ${bytes.length} bytes that are not: ${messageOf(cause)}`,
      { cause },
    );
  }
  throw new AppError(
    code,
    `Expected \`body\` to have names that are described, got \`${UNSEEN_NAME}\``,
  );
}

/**
 * The body as JSON of a schema. Errors: those of `readJson`, and `code` with the path, what was expected and what came
 */
export async function readValid<S extends z.ZodType>(
  c: Context,
  schema: S,
  code: ErrorCode = "invalid_config",
): Promise<z.output<S>> {
  return checkSchema(schema, await readJson(c, code), code);
}

/**
 * Content codings are not decoded here, and a partial body would replace the whole. Errors: `unsupported_media_type`
 * for a Content-Encoding, `malformed_body` for a Content-Range
 */
export function checkAsSent(c: Context): void {
  const encoding = c.req.header("Content-Encoding");
  if (encoding !== undefined && encoding.trim().toLowerCase() !== "identity") {
    throw new AppError(
      "unsupported_media_type",
      `Expected a body without Content-Encoding, got "${encoding}"`,
    );
  }
  const range = c.req.header("Content-Range");
  if (range !== undefined) {
    throw new AppError(
      "malformed_body",
      `Expected a complete body, got a part, with Content-Range: ${range}`,
    );
  }
}

/** Content-Length, if any. Errors: `malformed_body` if it is not a number */
export function declaredBytes(c: Context): number | undefined {
  const header = c.req.header("Content-Length");
  if (header === undefined) return undefined;
  if (!/^\d{1,15}$/.test(header)) {
    throw new AppError(
      "malformed_body",
      `Expected Content-Length to be a number of bytes, got "${header}"`,
    );
  }
  return Number(header);
}

function tooLarge(maxBytes: number, got: string): AppError {
  return new AppError(
    "body_too_large",
    `Expected a body of at most ${maxBytes} bytes, got ${got}`,
  );
}
