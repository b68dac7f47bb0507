/** Builders of citty's argument definitions. */

type Argument<T extends string> = { type: T; description: string };

/** An option with a value; the help shows `hint` for it. */
export function valued(
  hint: string,
  description: string,
): Argument<"string"> & { valueHint: string };
export function valued(
  hint: string,
  description: string,
  fallback: string | number,
): Argument<"string"> & { valueHint: string; default: string };
export function valued(
  hint: string,
  description: string,
  fallback?: string | number,
) {
  return {
    type: "string",
    valueHint: hint,
    description,
    ...(fallback !== undefined && { default: String(fallback) }),
  };
}

/** An option with one of a few values. */
export function oneOf<T extends string>(
  values: readonly T[],
  description: string,
): Argument<"enum"> & { options: T[] };
export function oneOf<T extends string>(
  values: readonly T[],
  description: string,
  fallback: NoInfer<T>,
): Argument<"enum"> & { options: T[]; default: T };
export function oneOf<T extends string>(
  values: readonly T[],
  description: string,
  fallback?: T,
) {
  return {
    type: "enum",
    options: [...values],
    description,
    ...(fallback !== undefined && { default: fallback }),
  };
}

/** A switch. */
export function flag(description: string): Argument<"boolean"> {
  return { type: "boolean", description };
}

/** A positional argument. */
export function operand(
  description: string,
): Argument<"positional"> & { required: true } {
  return { type: "positional", required: true, description };
}
