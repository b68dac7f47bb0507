/** What `make` makes, made when it is first asked for and kept: what a module would else make each time that a Worker starts. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
