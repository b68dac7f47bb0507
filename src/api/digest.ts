/** SHA-256, in lower-case hexadecimal. */
export async function sha256(
  bytes: Parameters<SubtleCrypto["digest"]>[1],
): Promise<string> {
  return hex(await crypto.subtle.digest("SHA-256", bytes));
}

/** SHA-256 of a value's JSON. */
export function jsonDigest(value: unknown): Promise<string> {
  return sha256(new TextEncoder().encode(JSON.stringify(value)));
}

export function hex(bytes: ArrayBuffer | Uint8Array): string {
  return Array.from(new Uint8Array(bytes), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
