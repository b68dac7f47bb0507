/**
 * Schemas of JSON by the names that they have in the description. Each is made when the first request needs it: made at
 * once, they would be most of what a Worker's start takes.
 */
import type * as z from "zod";
import { once } from "../../api/once.ts";

/** Called, the schema. */
export type NamedSchema<S extends z.ZodType = z.ZodType> = (() => S) & {
  readonly id: string;
};

/** What a schema lets through. */
export type OutputOf<Schema extends () => z.ZodType> = z.output<
  ReturnType<Schema>
>;

/** In the order in which they were declared. */
export const REQUEST_SCHEMAS: NamedSchema[] = [];
export const ANSWER_SCHEMAS: NamedSchema[] = [];

/** Of what a request bears. */
export function requestSchema<S extends z.ZodType>(
  id: string,
  make: () => S,
): NamedSchema<S> {
  return declared(REQUEST_SCHEMAS, id, make);
}

/** Of what an answer bears. */
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

/** Holds what code answers and what is described to one type: `true satisfies Same<A, B>`. */
export type Same<A, B> = [A] extends [B]
  ? [B] extends [A]
    ? true
    : never
  : never;
