/** What a backward pass's noise depends on, besides the layer. */
export type NoiseCoordinates = {
  seed: number;
  step: number;
  microbatch: number;
};
