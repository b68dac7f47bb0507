import type { Benchmark } from "./benchmark.ts";

/**
 * The benchmarks that `pattern` names, and what their ratios are taken to. A pattern is part of a name;
 * with `*` in it, which stands for any characters, it is the whole name.
 */
export function select<T extends Benchmark>(
  benchmarks: readonly T[],
  pattern: string,
): T[] {
  const wanted = benchmarks.filter(({ name }) => matches(name, pattern));
  const needed = new Set(wanted.flatMap((b) => [b.name, ...b.baselines]));
  return benchmarks.filter(({ name }) => needed.has(name));
}

function matches(name: string, pattern: string): boolean {
  if (!pattern.includes("*")) return name.includes(pattern);
  const literal = pattern.replace(/[\\^$+?.()|[\]{}]/g, "\\$&");
  return new RegExp(`^${literal.replaceAll("*", ".*")}$`).test(name);
}
