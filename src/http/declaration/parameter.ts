/** Values in a path, a query or a header: read, checked and described by one declaration each. */
import { AppError, type ErrorCode } from "../../api/errors.ts";

/** As JSON Schema 2020-12 has them. */
export type JsonSchema = Record<string, unknown>;

export type Parameter<T = unknown> = {
  description: string;
  schema: JsonSchema;
  /** May come several times. */
  repeats?: true;
  required?: true;
  /** Of a path's, which every request has. */
  example?: string | number;
  /** The value, of what came under the name: nothing, or one text unless it repeats. */
  read(texts: readonly string[], name: string): T;
};

/** What parameters of these names make of a request. */
export type Values<P extends Record<string, Parameter>> = {
  [Name in keyof P]: ReturnType<P[Name]["read"]>;
};

/** One of `choices`, or `fallback` where the request does not say. */
export function oneOf<
  const T extends string | number,
  const F extends T | undefined = undefined,
>(description: string, choices: readonly T[], fallback?: F): Parameter<T | F> {
  return {
    description,
    schema: {
      enum: choices,
      ...(fallback === undefined ? {} : { default: fallback }),
    },
    read([text], name) {
      if (text === undefined) return fallback as F;
      const chosen = choices.find((each) => `${each}` === text);
      if (chosen !== undefined) return chosen;
      throw new AppError(
        "invalid_option",
        `Expected \`${name}\` to be one of ${choices.join(", ")}, got "${text}"`,
      );
    },
  };
}

/** A whole number from `least` to `most`, or `fallback`; without one it must be there. */
export function wholeNumber(
  description: string,
  {
    least = 0,
    most = Number.MAX_SAFE_INTEGER,
    fallback,
    code = "invalid_option",
  }: { least?: number; most?: number; fallback?: number; code?: ErrorCode },
): Parameter<number> {
  return {
    description,
    schema: {
      type: "integer",
      minimum: least,
      maximum: most,
      ...(fallback === undefined ? {} : { default: fallback }),
    },
    ...(fallback === undefined ? { required: true } : {}),
    read([text], name) {
      if (text === undefined && fallback !== undefined) return fallback;
      const number = Number(text);
      const isWhole = /^\d{1,16}$/.test(text ?? "");
      if (isWhole && number >= least && number <= most) return number;
      const end = most === Number.MAX_SAFE_INTEGER ? "2^53 − 1" : most;
      throw new AppError(
        code,
        `Expected \`${name}\` to be a whole number from ${least} to ${end}, got "${text ?? ""}"`,
      );
    },
  };
}

/** Any text, or none; the pattern only describes it. */
export function text(
  description: string,
  pattern?: RegExp,
): Parameter<string | undefined> {
  return {
    description,
    schema: { type: "string", ...(pattern && { pattern: pattern.source }) },
    read: ([value]) => value,
  };
}
