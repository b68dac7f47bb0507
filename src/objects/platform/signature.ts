/** HMAC-SHA-256 of texts, with a secret. */
import { decodeBase64Url, encodeBase64Url } from "hono/utils/encode";

const encoder = new TextEncoder();

/** Imported keys by secret. Not promises: a request must not await what another request has started. */
const keys = new Map<string, CryptoKey>();
/** Few of an isolate's runs are trained at a time. */
const MAX_KEYS = 64;

/** base64url, without padding. */
export async function sign(secret: string, text: string): Promise<string> {
  const signature = await crypto.subtle.sign(
    "HMAC",
    await keyOf(secret),
    encoder.encode(text),
  );
  return encodeBase64Url(signature).replace("=", "");
}

/** Verifies a signature in constant time. */
export async function isSigned(
  secret: string,
  text: string,
  signature: string,
): Promise<boolean> {
  if (!/^[\w-]{43}$/.test(signature)) return false;
  const bytes = new Uint8Array(decodeBase64Url(signature));
  // The last base64 digit has two unused bits; accept only one spelling.
  if (encodeBase64Url(bytes.buffer).replace("=", "") !== signature)
    return false;
  return crypto.subtle.verify(
    "HMAC",
    await keyOf(secret),
    bytes,
    encoder.encode(text),
  );
}

/** A pseudorandom number in [0, 1), from 32 bits of the text's signature. */
export async function drawn(secret: string, text: string): Promise<number> {
  const signature = await crypto.subtle.sign(
    "HMAC",
    await keyOf(secret),
    encoder.encode(text),
  );
  return new DataView(signature).getUint32(0) / 2 ** 32;
}

/** Cached, since importing a key takes as long as signing. */
async function keyOf(secret: string): Promise<CryptoKey> {
  const known = keys.get(secret);
  if (known) return known;
  const key = await crypto.subtle.importKey(
    "raw",
    encoder.encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign", "verify"],
  );
  if (keys.size >= MAX_KEYS) keys.clear();
  keys.set(secret, key);
  return key;
}
