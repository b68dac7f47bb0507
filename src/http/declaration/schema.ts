/**
 * Named schemas of the description. Each is created on first use: creating them all would be most of a Worker's
 * start-up time.
 */
import type * as z from "zod";
import { once } from "../../api/once.ts";

/** A function that returns the schema. */
export type NamedSchema<S extends z.ZodType = z.ZodType> = (() => S) & {
  readonly id: string;
};

/** The type that a schema accepts. */
export type OutputOf<Schema extends () => z.ZodType> = z.output<
  ReturnType<Schema>
>;

/** In order of declaration. */
export const REQUEST_SCHEMAS: NamedSchema[] = [];
export const ANSWER_SCHEMAS: NamedSchema[] = [];

/** For request bodies. */
export function requestSchema<S extends z.ZodType>(
  id: string,
  make: () => S,
): NamedSchema<S> {
  return declared(REQUEST_SCHEMAS, id, make);
}

/** For answers. */
export function answerSchema<S extends z.ZodType>(
  id: string,
  make: () => S,
): NamedSchema<S> {
  return declared(ANSWER_SCHEMAS, id, make);
}

function declared<S extends z.ZodType>(
  schemas: NamedSchema[],
  id: string,
  make: () => S,
): NamedSchema<S> {
  const schema = Object.assign(once(make), { id });
  schemas.push(schema);
  return schema;
}

/** Compile-time check that two types are mutually assignable: `true satisfies Same<A, B>`. */
export type Same<A, B> = [A] extends [B]
  ? [B] extends [A]
    ? true
    : never
  : never;
