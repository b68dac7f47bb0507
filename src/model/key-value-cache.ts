/** The keys and values of processed tokens, in a region that outlives the passes. */
import type { Pointer, Region } from "../kernels/arena.ts";
import type { LayerCache } from "../kernels/decode.ts";
import { kernels } from "../kernels/runtime.ts";

/** The sizes of a decoder that determine its cache. */
type CacheShape = {
  layers: number;
  /** Width of a layer's keys, and of its values, per position. */
  cacheWidth: number;
};

export class KeyValueCache {
  readonly positions: number;
  /** Number of positions used. */
  length = 0;
  readonly #region: Region;
  readonly #width: number;

  constructor(decoder: CacheShape, positions: number) {
    this.positions = positions;
    this.#width = decoder.cacheWidth;
    this.#region = kernels().arena.own(cacheBytes(decoder, positions));
  }

  /** A layer's keys and values, f32 [positions, width] each. */
  layer(index: number): LayerCache {
    const bytes = 4 * this.positions * this.#width;
    const keys = this.#region.pointer + 2 * index * bytes;
    return { keys, values: keys + bytes };
  }

  /** Appends keys and values of new tokens, f32 [tokens, width], rows `stride` apart. */
  append(
    layer: number,
    keys: Pointer,
    values: Pointer,
    stride: number,
    tokens: number,
  ): void {
    if (this.length + tokens > this.positions)
      throw new RangeError(
        `Expected room for ${tokens} tokens, got ${this.positions - this.length}`,
      );
    const { arena } = kernels();
    const width = this.#width;
    const to = this.layer(layer);
    for (let token = 0; token < tokens; token++) {
      const at = 4 * (this.length + token) * width;
      const from = 4 * token * stride;
      arena.f32(to.keys + at, width).set(arena.f32(keys + from, width));
      arena.f32(to.values + at, width).set(arena.f32(values + from, width));
    }
  }

  free(): void {
    this.#region.free();
  }
}

/** Bytes of a cache with this many positions. */
export function cacheBytes(
  { layers, cacheWidth }: CacheShape,
  positions: number,
): number {
  return 2 * 4 * layers * cacheWidth * positions;
}
