/** The key-values of a GGUF: kept as they are encoded, but for the alignment. */
import type { GgufFields } from "./gguf-fields.ts";
import { DEFAULT_ALIGNMENT, SCALAR_BYTES, VALUE_TYPE } from "./gguf-types.ts";
import { malformedFile, quoted } from "./malformed.ts";

const malformed = malformedFile("GGUF");

const ALIGNMENT_KEY = "general.alignment";
/** The format allows its multiples; llama.cpp takes those alone that are powers of two. */
const MIN_ALIGNMENT = 8;
/** So much may pad each tensor: more than pages have, and no more than a piece of a file that is worked on. */
const MAX_ALIGNMENT = 2 ** 20;

/**
 * The next `count` key-values, each key's encoding by key where it is kept, and what they say of the alignment.
 * Errors: `malformed_body` for a key twice, a value type that GGUF does not have, or an alignment that is
 * no u32 or none that is taken
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
