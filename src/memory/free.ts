/**
 * Frees the memory of `bytes` at once; all views of the same buffer become empty. A buffer that is only dropped
 * counts against its isolate until it is garbage-collected, which may be hundreds of megabytes later.
 */
export function free({ buffer }: ArrayBufferView): void {
  // Node 20, which the package supports, lacks these methods, and shared buffers have no single owner: there, garbage
  // collection frees them.
  const { transfer } = buffer as Partial<ArrayBuffer>;
  if (transfer && !(buffer as ArrayBuffer).detached) transfer.call(buffer, 0);
}
