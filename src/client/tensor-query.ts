/** Options of the tensor routes as their queries have them. */
import type { RawOptions, SelectionOptions } from "../api/tensors.ts";

type Options = SelectionOptions &
  RawOptions & { compare?: readonly string[]; minScale?: number };

/** With its question mark; empty without options. */
export function toQuery(options: object): string {
  const { include, exclude, raw, compare, minScale, ...scalars } =
    options as Options;
  const query = new URLSearchParams();
  for (const [name, value] of [
    ...Object.entries(scalars as Record<string, string | number | undefined>),
    ["min-scale", minScale] as const,
    ["compare", compare?.join(",")] as const,
    ["dtype", raw?.dtype] as const,
    ["shape", raw?.shape.join(",")] as const,
  ]) {
    if (value !== undefined) query.set(name, String(value));
  }
  for (const pattern of include ?? []) query.append("include", pattern);
  for (const pattern of exclude ?? []) query.append("exclude", pattern);
  return query.size > 0 ? `?${query.toString()}` : "";
}
