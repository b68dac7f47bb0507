/**
 * Give the memory of `bytes` back now, with that of all that views the same buffer. A buffer that is only
 * dropped counts against its isolate until it is collected, which may be hundreds of megabytes later.
 */
export function free({ buffer }: ArrayBufferView): void {
  // Node 20, where the package runs too, has neither, and what threads share has no one owner: a collection frees it.
  const { transfer } = buffer as Partial<ArrayBuffer>;
  if (transfer && !(buffer as ArrayBuffer).detached) transfer.call(buffer, 0);
}
