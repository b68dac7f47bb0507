/** Slow twin of `assembly/random/noise.ts`, in exact 64-bit integers. */
const MASK = 0xffffffffn;

export function noise(key0: number, key1: number, counter: number): number {
  let x = (BigInt(counter) ^ BigInt(key0)) & MASK;
  x ^= x >> 16n;
  x = (x * 0x7feb352dn) & MASK;
  x ^= x >> 15n;
  x = (x + BigInt(key1)) & MASK;
  x ^= x >> 16n;
  x = (x * 0x846ca68bn) & MASK;
  x ^= x >> 16n;
  return Number(x);
}
