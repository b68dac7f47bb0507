/** Every body that a route's schema refuses is told in words what was expected, and what came. */
import { expect, test } from "vitest";
import * as z from "zod";
import { AppError } from "../../src/api/errors.ts";
import type { JsonSchema } from "../../src/http/declaration/parameter.ts";
import { PATH_PARAMETERS } from "../../src/http/declaration/path.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { checkSchema } from "../../src/http/valid.ts";

/** Of each kind that JSON has, and what lies beyond bounds. */
const VALUES = [
  null,
  true,
  7,
  -1,
  1.5,
  1e300,
  "",
  "x",
  "a b/é",
  "x".repeat(99),
  [],
  ["x"],
  [7],
  {},
  { x: 1 },
];
type Json = Record<string, unknown>;

/** What may stand in an object of this schema, whichever of its shapes it has. */
function membersOf(schema: JsonSchema): string[] {
  const inner = [schema.oneOf, schema.anyOf].flat() as (
    JsonSchema | undefined
  )[];
  return [
    ...Object.keys((schema.properties as object | undefined) ?? {}),
    ...inner.flatMap((each) => (each ? membersOf(each) : [])),
  ];
}

/** `value` with one place in it otherwise: another value, none, or one too many. */
function* spoilt(
  value: unknown,
  members: readonly string[],
): Iterable<unknown> {
  yield* VALUES;
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const [at, inner] of value.entries())
      for (const other of spoilt(inner, [])) yield value.with(at, other);
    return;
  }
  const whole = value as Json;
  yield { ...whole, nonsense: 1 };
  for (const name of new Set([...members, ...Object.keys(whole)])) {
    const { [name]: inner, ...rest } = whole;
    yield rest;
    for (const other of spoilt(inner, [])) yield { ...whole, [name]: other };
  }
}

const withBody = ROUTES.flatMap(({ id, body, examples = {} }) =>
  body?.json ? [[id, body.json(), Object.values(examples)] as const] : [],
);

test("there are routes with JSON", () => {
  expect(withBody.length).toBeGreaterThan(8);
});

test.each(withBody)("%s", (_, schema, examples) => {
  const members = membersOf(z.toJSONSchema(schema, { io: "input" }));
  let refused = 0;
  for (const { body: example } of examples)
    for (const body of spoilt(example, members)) {
      try {
        checkSchema(schema, body, "invalid_config");
      } catch (error) {
        refused++;
        expect(error).toBeInstanceOf(AppError);
        const { message } = error as AppError;
        expect(message).toMatch(/^Expected .*, got \S/s);
        expect(message).not.toMatch(/Invalid|undefined|\[object|token":"[^…]/);
        expect(message, "a pattern").not.toMatch(/\^|\$\//);
        expect(message, "the same twice").not.toMatch(
          /either (.*), or \1, got/,
        );
        // Each place says what it is to be.
        for (const clause of message.matchAll(/`[\w.]+`(?= |,|;)(.{0,9})/g))
          expect(clause[1], message).toMatch(/^ (to|nothing)/);
      }
    }
  expect(refused).toBeGreaterThan(10);
});

test.each(Object.entries(PATH_PARAMETERS))(
  "{%s} that is none is told in words",
  (name, { read }) => {
    const told =
      /^Expected (an? [a-z' ]+ of (1 to \d\d |up to 1018 bytes )|`\w+` to be )[^^]*, got "a b\/\.\."$/;
    // Files may have spaces, and lie in folders, of which none is called so.
    expect(() => read("a b/..", name)).toThrow(told);
    // No URL has such a part: what were called so, nobody could ask for.
    for (const dots of [".", ".."]) expect(() => read(dots, name)).toThrow();
  },
);

test.each([
  [
    "addTrainers",
    { nonsense: 1 },
    'Expected either `count` to be a whole number and `body` to have only count, or `join` to be true and `body` to have only join, expiresInMs, got {"nonsense":1}',
  ],
  [
    "createJob",
    { operation: "fold" },
    'Expected `operation` to be one of quantize, dequantize, repack, hadamard, analyze, got "fold"',
  ],
  [
    "createJob",
    { operation: "analyze", source: "../x" },
    'Expected `source` to be up to 1018 bytes of UTF-8 without control characters; parts between slashes are not empty, . or .., got "../x"',
  ],
  ["createRun", [], "Expected `body` to be an object, got []"],
  [
    "createJob",
    { operation: "analyze", source: 7 },
    "Expected either `source` to be a string, or `source` to be an object, got 7",
  ],
  [
    "beginUpload",
    { bytes: 1e15, partBytes: 2 ** 23 },
    'Expected `body` to ask for at most 10000 parts, got {"bytes":1000000000000000,"partBytes":8388608}',
  ],
  [
    "createJob",
    { operation: "analyze", source: "x", retentionMs: 2 ** 60 },
    "Expected `retentionMs` to be at most 7776000000, got 1152921504606847000",
  ],
  [
    // As JSON's 1e999 is read.
    "completeLease",
    { trainer: "a", bootId: "b", lossSum: Infinity, tokens: 64 },
    "Expected `lossSum` to be a number, got Infinity",
  ],
])("%s with %j", (wanted, body, words) => {
  const schema = withBody.find(([id]) => id === wanted)![1];
  expect(() => checkSchema(schema, body, "invalid_config")).toThrow(words);
});
