import { noise } from "./noise";

/**
 * Normal draws with the given deviation, by Box–Muller in f64.
 *
 *   u = (noise(key, 2j) + 1) / 2^32;  w = noise(key, 2j + 1) / 2^32;  r = √(−2 ln u)
 *   element 2j = r · cos(2πw);  element 2j + 1 = r · sin(2πw)
 *
 * Shapes:   out f32 [length]
 * Random:   element i depends on (key, firstElement + i) only
 */
export function normalF32(
  out: usize, length: i32, deviation: f64, key0: u32, key1: u32, firstElement: u32,
): void {
  for (let i = 0; i < length; i++) {
    const element = firstElement + <u32>i;
    const pair = element & ~1;
    const u = (<f64>noise(key0, key1, pair) + 1) / 4294967296.0;
    const angle = 2 * Math.PI * (<f64>noise(key0, key1, pair | 1) / 4294967296.0);
    const radius = sqrt<f64>(-2 * Math.log(u));
    const direction = (element & 1) == 0 ? Math.cos(angle) : Math.sin(angle);
    store<f32>(out + (<usize>i << 2), <f32>(deviation * radius * direction));
  }
}

/** cos(x) in f64 by AssemblyScript's own series: the same bits on every machine. */
export function cosine(x: f64): f64 {
  return Math.cos(x);
}
