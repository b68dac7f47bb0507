import type { Pointer } from "../src/kernels/arena.ts";
import { noiseKey, PURPOSE } from "../src/kernels/noise.ts";
import { kernels } from "../src/kernels/runtime.ts";
import { drawNormal } from "../src/kernels/vector.ts";

/** Standard normal draws by stream, kept outside the arena, where nothing outlives a scope. */
const draws = new Map<number, Float32Array<ArrayBuffer>>();

/** `length` standard normal values: real data, always the same. Streams are independent. */
export function normals(
  stream: number,
  length: number,
): Float32Array<ArrayBuffer> {
  const known = draws.get(stream);
  if (known && known.length >= length) return known.subarray(0, length);
  const { arena } = kernels();
  const drawn = arena.scope(() => {
    const out = arena.allocF32(length);
    const key = noiseKey(1, PURPOSE.initialParameters, stream);
    drawNormal(out, length, 1, key, 0);
    return arena.f32(out, length).slice();
  });
  draws.set(stream, drawn);
  return drawn;
}

/** The same in memory of the caller's scope. */
export function allocNormals(stream: number, length: number): Pointer {
  return kernels().arena.copyIn(normals(stream, length));
}
