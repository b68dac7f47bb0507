export { fillNoise } from "./noise";

/** First address that the kernels' own tables do not use. */
export function heapBase(): usize {
  return __heap_base;
}
