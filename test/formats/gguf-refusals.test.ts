/** What a GGUF head may not say, and that no memory is taken for what it only claims to have. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError, type ErrorCode } from "../../src/api/errors.ts";
import { readTensorFile } from "../../src/formats/containers/containers.ts";
import { endedEarly, sourceOf } from "../../src/formats/stream/source.ts";
import {
  type Field,
  fieldsOf,
  ggufOf,
  type RawGguf,
  STRING,
  text,
} from "../support/gguf-bytes.ts";
import {
  EXAMPLE,
  Q8_0,
  withAlignment,
  withTensor,
} from "../support/gguf-example.ts";

const WHOLE = ggufOf(EXAMPLE);
const FIELDS = fieldsOf(EXAMPLE);
/** The fields that tell how much of something follows. */
const COUNTS = FIELDS.flatMap((field, index) =>
  "counts" in field
    ? [{ index, counts: field.counts!, true: Number(field.u64) }]
    : [],
);

function withField(index: number, field: Field): Uint8Array<ArrayBuffer> {
  return ggufOf(EXAMPLE, FIELDS.with(index, field));
}

/** Why a file is refused; undefined where it is read. */
async function refusal(file: Uint8Array): Promise<AppError | undefined> {
  try {
    await readTensorFile(sourceOf(file), file.length);
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

async function expectRefused(
  file: Uint8Array | RawGguf,
  code: ErrorCode,
  message: string,
): Promise<void> {
  const error = await refusal(file instanceof Uint8Array ? file : ggufOf(file));
  expect(error?.code, error?.message).toBe(code);
  expect(error!.message).toMatch(/^Expected .*, got /);
  expect(error!.message).toContain(message);
}

test("the example is read, with its key-values and tensors", async () => {
  const input = await readTensorFile(sourceOf(WHOLE), WHOLE.length);
  const { metadata, tensors } = input;
  expect(input.target.name).toBe("gguf");
  expect([...metadata.keys()]).toEqual(EXAMPLE.pairs.map(({ key }) => key));
  expect(tensors.map(({ name }) => name)).toEqual(
    EXAMPLE.tensors.map(({ name }) => name),
  );
  expect(input.dataBytes).toBe(EXAMPLE.data.length);
});

test("a file cut anywhere is refused, and one with more behind it", async () => {
  for (let length = 0; length < WHOLE.length; length++) {
    const error = await refusal(WHOLE.subarray(0, length));
    expect(error?.code, `${length}`).toBe("malformed_body");
  }
  const padded = new Uint8Array(WHOLE.length + 20);
  padded.set(WHOLE);
  // Up to the padding of the last tensor.
  expect(await refusal(padded)).toBeUndefined();
  const longer = new Uint8Array(WHOLE.length + 21);
  longer.set(WHOLE);
  await expectRefused(longer, "malformed_body", "got 673");
});

describe("counts that lie:", () => {
  test("there are some of each kind", () => {
    expect(new Set(COUNTS.map(({ counts }) => counts))).toEqual(
      new Set(["tensors", "key-values", "bytes", "strings", "numbers"]),
    );
  });

  test.each(COUNTS)(
    "field $index, $true $counts, with any other number",
    async ({ index, counts, true: right }) => {
      const refused = async (u64: number | bigint) => {
        const error = await refusal(withField(index, { u64, counts }));
        expect(error?.message ?? "read", `${u64}`).toMatch(
          /^Expected .*, got /,
        );
      };
      for (let count = 0; count <= WHOLE.length; count++)
        if (count !== right) await refused(count);
      await fc.assert(
        fc.asyncProperty(
          fc.bigInt(BigInt(WHOLE.length), 2n ** 64n - 1n),
          refused,
        ),
      );
    },
  );

  test.each(COUNTS)(
    "field $index takes no memory for $counts that are not there",
    async ({ index, counts }) => {
      for (const u64 of [2n ** 20n, 30n * 2n ** 20n, 2n ** 40n, 2n ** 63n]) {
        const file = withField(index, { u64, counts });
        // As a request of a GiB declares itself, of which only this much comes.
        const inner = sourceOf(file);
        let [most, taken] = [0, 0];
        const source = {
          async take(bytes: number) {
            most = Math.max(most, bytes);
            if (taken + bytes > file.length) throw endedEarly(bytes, 0);
            taken += bytes;
            return inner.take(bytes);
          },
        };
        // No head has room for more than 32 Mi of anything, so the field alone tells.
        const message =
          u64 > 2n ** 25n ? "for which there is room" : "Expected";
        await expect(readTensorFile(source, 2 ** 30)).rejects.toThrow(message);
        expect(most).toBeLessThanOrEqual(64 * 1024);
      }
    },
  );

  test("a head is announced once, before more than a MiB of it is taken", async () => {
    const announced = async (stringBytes: number) => {
      const file = ggufOf({
        ...EXAMPLE,
        pairCount: 1,
        pairs: [
          { key: "x", type: STRING, value: text("x".repeat(stringBytes)) },
        ],
      });
      const inner = sourceOf(file);
      let taken = 0;
      const source = {
        take: (bytes: number) => {
          taken += bytes;
          return inner.take(bytes);
        },
      };
      const calls: [most: number, taken: number][] = [];
      await readTensorFile(source, file.length, undefined, async (most) => {
        calls.push([most, taken]);
      });
      return { calls, bytes: file.length };
    };
    expect((await announced(1000)).calls).toEqual([]);
    const { calls, bytes } = await announced(3 * 1024 * 1024);
    expect(calls).toEqual([[bytes, expect.any(Number)]]);
    expect(calls[0]![1]).toBeLessThanOrEqual(1024 * 1024);
  });

  test("more tensors or key-values than an isolate has room for, before any is read", async () => {
    const huge = new Uint8Array(1024 * 1024);
    const many = (changes: Partial<RawGguf>) =>
      ggufOf({ ...EXAMPLE, ...changes, data: huge });
    await expectRefused(
      many({ tensorCount: 16_385 }),
      "body_too_large",
      "at most 16384 tensors",
    );
    await expectRefused(
      many({ pairCount: 16_385 }),
      "body_too_large",
      "at most 16384 key-values",
    );
  });
});

describe("tensors", () => {
  test("that overlap, leave gaps, lie outside or between multiples of the alignment", async () => {
    for (const index of [0, 1, 2]) {
      const right = BigInt(EXAMPLE.tensors[index]!.offset);
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(
            fc.bigInt(0n, 2000n),
            fc.bigInt(0n, 2n ** 64n - 1n),
            fc.constantFrom(right + 1n, right + 32n),
          ),
          async (offset) => {
            fc.pre(offset !== right);
            await expectRefused(
              withTensor(index, { offset }),
              "malformed_body",
              `"${EXAMPLE.tensors[index]!.name as string}" at ${right}`,
            );
          },
        ),
      );
    }
  });

  test("that are larger than the file", async () => {
    for (const dimensions of [
      [64, 1024],
      [2n ** 40n],
      [2n ** 31n, 2n ** 31n],
      [2n ** 62n, 64],
      [2n ** 52n, 2n ** 52n, 2n ** 52n, 2n ** 52n],
    ]) {
      await expectRefused(
        withTensor(2, { dimensions }),
        "malformed_body",
        '"w.bias"',
      );
    }
  });

  test("of other sizes than their data", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(40), { minLength: 1, maxLength: 4 }),
        async (dimensions) => {
          const count = dimensions.reduce((product, size) => product * size, 1);
          // What the file has behind 9 or 10 values may be their padding.
          fc.pre(count < 9 || count > 11);
          const error = await refusal(ggufOf(withTensor(2, { dimensions })));
          expect(error?.code, error?.message).toBe("malformed_body");
        },
      ),
    );
  });

  test("of no dimension are scalars, of more than four refused", async () => {
    const scalar = withTensor(2, { dimensions: [] });
    expect(
      await refusal(ggufOf({ ...scalar, data: EXAMPLE.data.subarray(0, 612) })),
    ).toBeUndefined();
    await expectRefused(
      withTensor(2, { dimensions: [11, 1, 1, 1, 1] }),
      "malformed_body",
      "got 5",
    );
  });

  test("of types that ggml does not have, or whose blocks do not fit the rows", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.constantFrom(4, 5, 31, 36, 38, 43),
          fc.integer({ min: 43, max: 2 ** 32 - 1 }),
        ),
        (type) =>
          expectRefused(
            withTensor(2, { type }),
            "unsupported_dtype",
            `got ${type}`,
          ),
      ),
    );
    await expectRefused(
      withTensor(1, { dimensions: [2, 32], type: Q8_0 }),
      "malformed_body",
      "whole blocks of 32",
    );
  });

  test("of one name", () =>
    expectRefused(
      withTensor(2, { name: "w.weight" }),
      "malformed_body",
      '"w.weight" twice',
    ));

  test("of names that are no UTF-8, or longer than a name can be", async () => {
    await expectRefused(
      withTensor(2, { name: Uint8Array.of(0x77, 0xff) }),
      "malformed_body",
      "UTF-8",
    );
    await expectRefused(
      withTensor(2, { name: "x".repeat(65_536) }),
      "malformed_body",
      "at most 65535",
    );
  });
});

describe("key-values", () => {
  const withPair = (key: string, type: number, value: Field[]): RawGguf => ({
    ...EXAMPLE,
    pairCount: EXAMPLE.pairs.length + 1,
    pairs: [...EXAMPLE.pairs, { key, type, value }],
  });

  test("with one key", () =>
    expectRefused(
      withPair("tokens", STRING, text("x")),
      "malformed_body",
      '"tokens" twice',
    ));

  test("of types that GGUF does not have, alone and in arrays", async () => {
    for (const type of [13, 99, 2 ** 32 - 1]) {
      await expectRefused(
        withPair("x", type, [{ u32: 1 }]),
        "malformed_body",
        `got ${type}`,
      );
    }
    for (const type of [9, 13]) {
      await expectRefused(
        withPair("x", 9, [{ u32: type }, { u64: 0, counts: "" }]),
        "malformed_body",
        `"x", got ${type}`,
      );
    }
  });

  test("whose alignment is no multiple of 8 from 8 to a MiB, or no u32", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.nat(9000),
          fc.integer({ min: 0, max: 2 ** 32 - 1 }),
          fc.constantFrom(0, 1, 2, 4, 2 ** 20 + 8, 2 ** 31),
        ),
        async (alignment) => {
          fc.pre(alignment % 8 !== 0 || alignment === 0 || alignment > 2 ** 20);
          await expectRefused(
            withAlignment(4, [{ u32: alignment }]),
            "malformed_body",
            `got ${alignment}`,
          );
        },
      ),
    );
    await expectRefused(
      withAlignment(10, [{ u64: 32 }]),
      "malformed_body",
      "general.alignment",
    );
    await expectRefused(
      withAlignment(5, [{ u32: 32 }]),
      "malformed_body",
      "general.alignment",
    );
  });
});

describe("another container:", () => {
  test("any version but 2 and 3", async () => {
    expect(await refusal(ggufOf({ ...EXAMPLE, version: 2 }))).toBeUndefined();
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.nat(10), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
        async (version) => {
          fc.pre(version !== 2 && version !== 3);
          const error = await refusal(ggufOf({ ...EXAMPLE, version }));
          expect(error?.code).toBe("malformed_body");
        },
      ),
    );
    await expectRefused(
      { ...EXAMPLE, version: 1 },
      "malformed_body",
      "version 2 or 3, got 1",
    );
  });

  test("numbers in big-endian order", async () => {
    await expectRefused(
      { ...EXAMPLE, version: 0x03000000 },
      "malformed_body",
      "got version 3 in big-endian",
    );
    await expectRefused(
      { ...EXAMPLE, magic: "FUGG" },
      "malformed_body",
      "big-endian",
    );
  });
});

test("any change of a byte of the head is refused as malformed, or read", async () => {
  const head = WHOLE.length - EXAMPLE.data.length;
  for (let position = 0; position < head; position++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const file = WHOLE.slice();
      file[position]! ^= flip;
      const error = await refusal(file);
      if (error) expect(error.message).toMatch(/^Expected /);
    }
  }
});

test("any bytes behind the magic are refused, or read", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const file = new Uint8Array(8 + bytes.length);
      file.set([0x47, 0x47, 0x55, 0x46, 3]);
      file.set(bytes, 8);
      const error = await refusal(file);
      if (error) expect(error.message).toMatch(/^Expected /);
    }),
  );
});

test("a part of a split, with tensors or without, is told as that", async () => {
  const u16 = (key: string, value: number) => ({
    key,
    type: 2,
    value: [new Uint8Array([value, 0])],
  });
  const split = (part: number, parts: number): RawGguf => ({
    ...EXAMPLE,
    pairs: [...EXAMPLE.pairs, u16("split.no", part), u16("split.count", parts)],
    pairCount: EXAMPLE.pairs.length + 2,
  });
  const empty = { tensors: [], tensorCount: 0, data: new Uint8Array(0) };
  const merge = "; merge the parts with `llama-gguf-split --merge`";
  await expectRefused(
    { ...split(0, 3), ...empty },
    "malformed_body",
    `Expected a whole GGUF, got part 1 of 3${merge}`,
  );
  await expectRefused(
    split(1, 2),
    "malformed_body",
    `Expected a whole GGUF, got part 2 of 2${merge}`,
  );
  await expectRefused(
    split(3, 3),
    "malformed_body",
    "split.no below split.count, 3, got 3",
  );
  expect(await refusal(ggufOf(split(0, 1)))).toBeUndefined();
  const told = { key: "split.count", type: STRING, value: text("3") };
  const odd = {
    ...EXAMPLE,
    pairs: [...EXAMPLE.pairs, told],
    pairCount: EXAMPLE.pairs.length + 1,
  };
  await expectRefused(
    odd,
    "malformed_body",
    "split.count to be a whole number, got another value",
  );
});
