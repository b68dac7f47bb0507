/** The key-values of a GGUF, kept encoded, except for the alignment. */
import type { GgufFields } from "./gguf-fields.ts";
import { DEFAULT_ALIGNMENT, SCALAR_BYTES, VALUE_TYPE } from "./gguf-types.ts";
import { malformedFile, quoted } from "./malformed.ts";

const malformed = malformedFile("GGUF");

const ALIGNMENT_KEY = "general.alignment";
/** GGUF allows any multiple of it; llama.cpp only powers of two. */
const MIN_ALIGNMENT = 8;
/** Bounds the padding of each tensor: more than a page, and at most a piece of a conversion. */
const MAX_ALIGNMENT = 2 ** 20;

/**
 * Reads `count` key-values: the encoded entries that are kept, by key, and the alignment. Errors: `malformed_body`
 * for a duplicate key, an unknown value type, or an invalid alignment
 */
export async function readPairs(
  fields: GgufFields,
  count: number,
  keeps: (key: string) => boolean,
): Promise<{ pairs: Map<string, Uint8Array>; alignment: number }> {
  const pairs = new Map<string, Uint8Array>();
  const keys = new Set<string>();
  let alignment = DEFAULT_ALIGNMENT;
  for (let i = 0; i < count; i++) {
    let key = "";
    const encoded = await fields.record(async () => {
      key = await fields.name();
      if (keys.has(key))
        throw malformed("each key once", `${quoted(key)} twice`);
      keys.add(key);
      if (!keeps(key)) fields.forget();
      const type = await fields.uint32();
      if (key === ALIGNMENT_KEY) alignment = await readAlignment(fields, type);
      else if (type === VALUE_TYPE.ARRAY) await skipArray(fields, key);
      else if (type === VALUE_TYPE.STRING) await fields.skipStrings(1);
      else await fields.skip(scalarBytes(type, key));
    });
    if (keeps(key)) pairs.set(key, encoded);
  }
  return { pairs, alignment };
}

async function readAlignment(
  fields: GgufFields,
  type: number,
): Promise<number> {
  if (type !== VALUE_TYPE.UINT32)
    throw malformed(
      `${ALIGNMENT_KEY} of value type ${VALUE_TYPE.UINT32}`,
      `${type}`,
    );
  const alignment = await fields.uint32();
  const isMultiple = alignment % MIN_ALIGNMENT === 0;
  if (isMultiple && alignment >= MIN_ALIGNMENT && alignment <= MAX_ALIGNMENT)
    return alignment;
  throw malformed(
    `an alignment of ${MIN_ALIGNMENT} to ${MAX_ALIGNMENT}, a multiple of ${MIN_ALIGNMENT}`,
    `${alignment}`,
  );
}

async function skipArray(fields: GgufFields, key: string): Promise<void> {
  const type = await fields.uint32();
  if (type === VALUE_TYPE.ARRAY)
    throw malformed(
      `scalars or strings in the array ${quoted(key)}`,
      `${type}, an array within it`,
    );
  if (type === VALUE_TYPE.STRING)
    return fields.skipStrings(await fields.count("strings", 8));
  const bytes = scalarBytes(type, key);
  const count = await fields.count("values of an array", bytes);
  await fields.skip(count * bytes);
}

function scalarBytes(type: number, key: string): number {
  const bytes = SCALAR_BYTES[type];
  if (bytes === undefined)
    throw malformed(`a known value type for ${quoted(key)}`, `${type}`);
  return bytes;
}
