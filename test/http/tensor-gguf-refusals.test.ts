/** Whatever is wrong with a GGUF, the routes say so in a problem document, and never with half an answer. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fieldsOf, ggufOf, type RawGguf } from "../support/gguf-bytes.ts";
import { EXAMPLE, withAlignment, withTensor } from "../support/gguf-example.ts";
import { bytesOf, problemOf } from "./support.ts";
import { post } from "./tensor-support.ts";

const ROUTES = ["quantize", "dequantize", "analyze", "hadamard"] as const;
const STATUS: Record<string, number> = {
  malformed_body: 400,
  body_too_large: 413,
  unsupported_media_type: 415,
  unsupported_dtype: 422,
  nothing_to_convert: 422,
};

const WHOLE = ggufOf(EXAMPLE);
const FIELDS = fieldsOf(EXAMPLE);
const COUNTS = FIELDS.flatMap((field, index) =>
  "counts" in field ? [index] : [],
);

describe.each(ROUTES)("POST /v1/%s refuses a GGUF", (route) => {
  const path = `/v1/${route}`;
  const refused = async (file: Uint8Array | RawGguf, ...codes: string[]) => {
    const body = file instanceof Uint8Array ? file : ggufOf(file);
    const response = await post(path, body);
    const { code } = (await response.clone().json()) as { code: string };
    expect(codes).toContain(code);
    await problemOf(response, STATUS[code]!, code);
  };
  const check = <T>(
    arbitrary: fc.Arbitrary<T>,
    property: (value: T) => Promise<void>,
  ) => fc.assert(fc.asyncProperty(arbitrary, property), { numRuns: 30 });

  test("cut anywhere", () =>
    check(fc.nat(WHOLE.length - 1), (length) =>
      refused(WHOLE.subarray(0, length), "malformed_body"),
    ));

  test("that is a part of one, by what to do", async () => {
    const count = {
      key: "split.count",
      type: 2,
      value: [new Uint8Array([2, 0])],
    };
    const pairs = [...EXAMPLE.pairs, count];
    const part = { ...EXAMPLE, pairs, pairCount: pairs.length };
    await refused(part, "malformed_body");
    const { detail } = (await (await post(path, ggufOf(part))).json()) as {
      detail: string;
    };
    expect(detail).toContain(
      "got part 1 of 2; merge the parts with `llama-gguf-split --merge`",
    );
  });

  test("with more behind it than padding", () =>
    check(fc.integer({ min: 21, max: 200 }), (more) => {
      const longer = new Uint8Array(WHOLE.length + more);
      longer.set(WHOLE);
      return refused(longer, "malformed_body");
    }));

  test("with counts and lengths past its end", () =>
    check(
      fc.tuple(
        fc.constantFrom(...COUNTS),
        fc.bigInt(BigInt(WHOLE.length), 2n ** 64n - 1n),
      ),
      ([index, u64]) =>
        refused(ggufOf(EXAMPLE, FIELDS.with(index, { u64 })), "malformed_body"),
    ));

  test("with offsets that overlap, leave gaps or lie outside", () =>
    check(
      fc.tuple(
        fc.constantFrom(0, 1, 2),
        fc.oneof(fc.bigInt(0n, 2000n), fc.bigInt(0n, 2n ** 64n - 1n)),
      ),
      ([index, offset]) => {
        fc.pre(offset !== BigInt(EXAMPLE.tensors[index]!.offset));
        return refused(withTensor(index, { offset }), "malformed_body");
      },
    ));

  test("with a tensor type that ggml does not have", () =>
    check(
      fc.oneof(
        fc.constantFrom(4, 5, 31, 36),
        fc.integer({ min: 43, max: 2 ** 32 - 1 }),
      ),
      (type) => refused(withTensor(2, { type }), "unsupported_dtype"),
    ));

  test("with a name twice, of too many dimensions, too large, of a wrong alignment, version or byte order", async () => {
    const files = [
      withTensor(2, { name: "w.weight" }),
      withTensor(2, { dimensions: [11, 1, 1, 1, 1] }),
      withTensor(2, { dimensions: [2n ** 63n, 2n ** 63n] }),
      withAlignment(4, [{ u32: 48 }]),
      withAlignment(4, [{ u32: 0 }]),
      { ...EXAMPLE, version: 1 },
      { ...EXAMPLE, version: 0x03000000 },
      { ...EXAMPLE, magic: "FUGG" },
    ];
    for (const file of files) await refused(file, "malformed_body");
  });

  test("of more tensors or key-values than an isolate has room for", async () => {
    const data = new Uint8Array(512 * 1024);
    for (const count of [{ tensorCount: 16_385 }, { pairCount: 16_385 }])
      await refused({ ...EXAMPLE, ...count, data }, "body_too_large");
  });

  test("or answers whole, after any change of a byte", () =>
    check(
      fc.tuple(fc.nat(WHOLE.length - 1), fc.integer({ min: 1, max: 255 })),
      async ([position, flip]) => {
        const body = WHOLE.slice();
        body[position]! ^= flip;
        const response = await post(path, body);
        if (response.status === 200) {
          const declared = response.headers.get("Content-Length");
          const { length } = await bytesOf(response);
          if (declared !== null) expect(length).toBe(Number(declared));
          return;
        }
        const { code } = (await response.clone().json()) as { code: string };
        expect(Object.keys(STATUS)).toContain(code);
        await problemOf(response, STATUS[code]!, code);
      },
    ));
});

describe("a body of more than a small answer that breaks off", () => {
  /** 2 MiB of f32, or of blocks, which are streamed. */
  const large = (type: number, rows: number, bytes: number) =>
    ggufOf({
      ...EXAMPLE,
      tensorCount: 1,
      tensors: [
        { name: "w.weight", dimensions: [1024, rows], type, offset: 0 },
      ],
      data: new Uint8Array(bytes),
    });
  const cut = (path: string, whole: Uint8Array) =>
    post(path, whole.subarray(0, whole.length - 1), {
      "Content-Length": `${whole.length}`,
    });

  test.each([
    ["quantize", large(0, 512, 512 * 4096)],
    ["dequantize", large(39, 3855, 3855 * 544)],
  ])("is no answer of /v1/%s that looks complete", async (route, whole) => {
    const response = await cut(`/v1/${route}`, whole);
    expect(response.status).toBe(200);
    const declared = Number(response.headers.get("Content-Length"));
    expect(declared).toBeGreaterThan(256 * 1024);
    await expect(response.arrayBuffer()).rejects.toThrow();
  });
});

/** Of ggml, behind the others. */
const F64 = 28;

test("a matrix of F64, which no pattern makes one that is read, is refused without one being advised", async () => {
  const matrix = {
    name: "w.weight",
    dimensions: [32, 2],
    type: F64,
    offset: 0,
  };
  const data = new Uint8Array(8 * 64);
  const alone = { ...EXAMPLE, tensorCount: 1, tensors: [matrix], data };
  const { detail } = (await (
    await post("/v1/quantize", ggufOf(alone))
  ).json()) as { detail: string };
  expect(detail).toBe(
    'Expected tensors to quantize, got none but "w.weight" (F64, floats that are not read)',
  );
});
