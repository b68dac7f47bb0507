/** One linear layer, [in] → [out]. */
export type Shape = { inFeatures: number; outFeatures: number };

/** T: what a microbatch of a small GPT has. */
export const TOKENS = 1024;

export const SHAPES: readonly Shape[] = [
  { inFeatures: 256, outFeatures: 256 },
  { inFeatures: 256, outFeatures: 1024 },
  { inFeatures: 384, outFeatures: 1536 },
  { inFeatures: 512, outFeatures: 2048 },
];

/** As it stands in names: `512x2048`. */
export function nameOf({ inFeatures, outFeatures }: Shape): string {
  return `${inFeatures}x${outFeatures}`;
}

/** Multiply-adds of one product of T tokens with the layer's weight. */
export function macs({ inFeatures, outFeatures }: Shape): number {
  return TOKENS * inFeatures * outFeatures;
}
