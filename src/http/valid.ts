/** Checks values against schemas; messages have the form of all others: what was expected, and what came. */
import type * as z from "zod";
import { AppError, type ErrorCode } from "../api/errors.ts";

const KINDS: Record<string, string> = {
  int: "a whole number",
  number: "a number",
  string: "a string",
  boolean: "true or false",
  array: "an array",
  object: "an object",
};
/** Units of a length limit; a number's own value is limited. */
const UNITS: Record<string, string> = { string: "characters", array: "items" };

/** `value` as parsed by the schema, or an `AppError` that names every violation. */
export function checkSchema<S extends z.ZodType>(
  schema: S,
  value: unknown,
  code: ErrorCode,
): z.output<S> {
  const result = schema.safeParse(value, { error: wanted });
  if (result.success) return result.data;
  const told = result.error.issues
    .filter((issue, i, all) => !isBoundedAgain(issue, all.slice(i + 1)))
    .map((issue) => `${wantedAt(issue, [])}, got ${came(value, issue)}`);
  throw new AppError(code, `Expected ${told.join("; ")}`);
}

/** A whole number beyond the safe integers violates both that limit and its own; one message is enough. */
function isBoundedAgain(
  { code, path }: z.core.$ZodIssue,
  later: readonly z.core.$ZodIssue[],
): boolean {
  const isBound = code === "too_big" || code === "too_small";
  const at = path.join(".");
  return (
    isBound &&
    later.some((each) => each.code === code && each.path.join(".") === at)
  );
}

/** What the value must be; messages of schemas have the same form. */
function wanted(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type": {
      const def = issue.inst?._zod.def as { format?: string } | undefined;
      const kind = def?.format === "safeint" ? "int" : issue.expected;
      return `to be ${KINDS[kind] ?? kind}`;
    }
    case "invalid_value":
      return `to be ${oneOf(issue.values)}`;
    case "too_small":
      return bounded(issue, issue.inclusive ? "at least" : "more than");
    case "too_big":
      return bounded(issue, issue.inclusive ? "at most" : "less than");
    case "unrecognized_keys": {
      const { shape } = issue.inst as unknown as z.ZodObject;
      return `to have only ${Object.keys(shape).join(", ")}`;
    }
    case "invalid_union":
      return Array.isArray(issue.options)
        ? `to be ${oneOf(issue.options)}`
        : undefined;
    // `custom` and `invalid_format` have their own messages; no route's schema has the others.
    case "custom":
    case "invalid_format":
    case "invalid_element":
    case "invalid_key":
    case "not_multiple_of":
      return undefined;
  }
}

function oneOf(values: readonly unknown[]): string {
  return values.length === 1
    ? String(values[0])
    : `one of ${values.map(String).join(", ")}`;
}

function bounded(
  issue: Extract<z.core.$ZodRawIssue, { code: "too_small" | "too_big" }>,
  bound: string,
): string {
  const limit = String(
    issue.code === "too_small" ? issue.minimum : issue.maximum,
  );
  const unit = UNITS[issue.origin];
  if (!unit) return `to be ${bound} ${limit}`;
  return `to have ${bound} ${limit} ${limit === "1" ? unit.slice(0, -1) : unit}`;
}

/** "`a.b` to be a string"; for a union, the alternatives. */
function wantedAt(issue: z.core.$ZodIssue, above: PropertyKey[]): string {
  const path = [...above, ...issue.path];
  if (issue.code !== "invalid_union" || issue.errors.length === 0)
    return `\`${path.map(String).join(".") || "body"}\` ${issue.message}`;
  const shapes = issue.errors.map((inside) =>
    inside.map((each) => wantedAt(each, path)).join(" and "),
  );
  const [first, ...others] = new Set(shapes);
  return others.length === 0
    ? first!
    : `either ${[first, ...others].join(", or ")}`;
}

/** What came; tokens are never shown. */
function came(value: unknown, issue: z.core.$ZodIssue): string {
  const { path } = issue;
  if (path.at(-1) === "token") return "another";
  if (issue.code === "unrecognized_keys")
    return issue.keys
      .map((key) => `\`${key}\``)
      .join(", ")
      .slice(0, 80);
  const inside = path.reduce<unknown>(
    (outer, key) =>
      typeof outer === "object" && outer !== null
        ? (outer as Record<PropertyKey, unknown>)[key]
        : undefined,
    value,
  );
  // JSON numbers beyond f64 are parsed as infinite, which JSON cannot represent.
  if (typeof inside === "number") return String(inside);
  const text =
    JSON.stringify(inside, (key, each: unknown) =>
      key === "token" ? "…" : each,
    ) ?? "nothing";
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
