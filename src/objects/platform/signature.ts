/** HMAC-SHA-256 of a text, by which it is known again where the same secret is. */
import { decodeBase64Url, encodeBase64Url } from "hono/utils/encode";

const encoder = new TextEncoder();

/** By secret. Not their promises: a request may not wait for what another has begun. */
const keys = new Map<string, CryptoKey>();
/** Of an isolate's runs, few are trained at a time. */
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

/** In a time that does not depend on where a forged one differs. */
export async function isSigned(
  secret: string,
  text: string,
  signature: string,
): Promise<boolean> {
  if (!/^[\w-]{43}$/.test(signature)) return false;
  const bytes = new Uint8Array(decodeBase64Url(signature));
  // The last digit has two bits that say nothing: only one writing counts.
  if (encodeBase64Url(bytes.buffer).replace("=", "") !== signature)
    return false;
  return crypto.subtle.verify(
    "HMAC",
    await keyOf(secret),
    bytes,
    encoder.encode(text),
  );
}

/** A number from 0 to 1 that only the secret tells: 32 bits of the text's signature. */
export async function drawn(secret: string, text: string): Promise<number> {
  const signature = await crypto.subtle.sign(
    "HMAC",
    await keyOf(secret),
    encoder.encode(text),
  );
  return new DataView(signature).getUint32(0) / 2 ** 32;
}

/** To import one takes as long as to sign with it. */
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
