/** Lazy, cached result of `make`: keeps module initialization out of a Worker's start-up. */
export function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
