/** All chunks in one buffer of size `bytes`. */
export function concatenate(
  bytes: number,
  chunks: Iterable<Uint8Array>,
): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes);
  let position = 0;
  for (const chunk of chunks) {
    whole.set(chunk, position);
    position += chunk.length;
  }
  return whole;
}
