/** Whatever is wrong with a file, the answer is a problem document that says what was expected. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import {
  encodePair,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import { normals } from "../support/random.ts";
import { type Problem, problemOf } from "./support.ts";
import { f32, fileInOrder, post, u8, withHeader } from "./tensor-support.ts";

const ROUTES = ["quantize", "dequantize", "analyze", "hadamard"] as const;
const STATUS: Record<string, number> = {
  malformed_body: 400,
  body_too_large: 413,
  unsupported_media_type: 415,
  shape_mismatch: 422,
  unsupported_dtype: 422,
  name_collision: 422,
  invalid_option: 422,
  nothing_to_convert: 422,
};

/** A 200 whose body comes whole, or a refusal with the status of its code. */
async function answered(
  path: string,
  body: Uint8Array,
): Promise<Problem | undefined> {
  const response = await post(path, body);
  if (response.status === 200) {
    await response.arrayBuffer();
    return undefined;
  }
  const { code } = (await response.clone().json()) as Problem;
  expect(Object.keys(STATUS)).toContain(code);
  return problemOf(response, STATUS[code]!, code);
}

type Entry = { dtype: unknown; shape: unknown; data_offsets: unknown };

const PLAIN = fileInOrder([
  f32("a", [2, 64], normals(128, 1)),
  u8("b_blocks", [2, 16], Array(32).fill(0x21)),
  u8("b_scales", [2], [127, 128]),
]);
const HEADER_BYTES = Number(new DataView(PLAIN.buffer).getBigUint64(0, true));
const HEADER = JSON.parse(
  new TextDecoder().decode(PLAIN.subarray(8, 8 + HEADER_BYTES)),
) as Record<string, Entry>;
const DATA = PLAIN.subarray(8 + HEADER_BYTES);

const withEntries = (change: (header: Record<string, unknown>) => void) => {
  const header = structuredClone(HEADER) as Record<string, unknown>;
  change(header);
  return withHeader(JSON.stringify(header), [DATA]);
};
const withEntry = (name: string, changes: Partial<Entry>) =>
  withEntries((header) => {
    header[name] = { ...HEADER[name], ...changes };
  });

const name = fc.constantFrom("a", "b_blocks", "b_scales");
const odd = fc.oneof(
  fc.constantFrom(null, -1, 0.5, "4", [], {}, true, 2 ** 53, 1e300),
  fc.array(fc.oneof(fc.integer(), fc.double(), fc.string()), { maxLength: 4 }),
);

describe.each(ROUTES)("POST /v1/%s refuses", (route) => {
  const path = `/v1/${route}`;
  const refused = async (body: Uint8Array, codes: string[]) => {
    const problem = await answered(path, body);
    expect(problem && codes.includes(problem.code), problem?.detail).toBe(true);
  };
  const check = <T>(
    arbitrary: fc.Arbitrary<T>,
    property: (value: T) => Promise<void>,
  ) => fc.assert(fc.asyncProperty(arbitrary, property), { numRuns: 30 });

  test("a file cut anywhere", () =>
    check(fc.nat(PLAIN.length - 1), (length) =>
      refused(PLAIN.subarray(0, length), ["malformed_body"]),
    ));

  test("a file with more behind it", () =>
    check(fc.integer({ min: 1, max: 100 }), (more) =>
      refused(concatenate(PLAIN.length + more, [PLAIN]), ["malformed_body"]),
    ));

  test("a header length that is not the header's, or over 8 MiB", () =>
    check(
      fc.oneof(fc.nat(PLAIN.length * 2), fc.bigInt(0n, 2n ** 64n - 1n)),
      async (length) => {
        fc.pre(BigInt(length) !== BigInt(HEADER_BYTES));
        const body = PLAIN.slice();
        new DataView(body.buffer).setBigUint64(0, BigInt(length), true);
        await refused(body, ["malformed_body"]);
      },
    ));

  test("offsets that overlap, leave gaps, or lie outside", () =>
    check(
      fc.tuple(name, fc.nat(2000), fc.nat(2000)),
      async ([which, start, end]) => {
        fc.pre(
          JSON.stringify([start, end]) !==
            JSON.stringify(HEADER[which]!.data_offsets),
        );
        await refused(withEntry(which, { data_offsets: [start, end] }), [
          "malformed_body",
        ]);
      },
    ));

  test("a shape that is not the bytes'", () =>
    check(
      fc.tuple(name, fc.array(fc.nat(1000), { maxLength: 5 })),
      async ([which, shape]) => {
        const count = (sizes: number[]) =>
          sizes.reduce((product, size) => product * size, 1);
        fc.pre(count(shape) !== count(HEADER[which]!.shape as number[]));
        await refused(withEntry(which, { shape }), ["malformed_body"]);
      },
    ));

  test("a dtype that is not known, or of another width", () =>
    check(
      fc.tuple(
        name,
        fc.oneof(
          fc.string(),
          fc.constantFrom("F64", "f32", "U16", "__proto__"),
        ),
      ),
      async ([which, dtype]) => {
        fc.pre(
          dtype !== HEADER[which]!.dtype && dtype !== "U8" && dtype !== "I8",
        );
        await refused(withEntry(which, { dtype }), [
          "unsupported_dtype",
          "malformed_body",
        ]);
      },
    ));

  test("values in the header of another kind", () =>
    check(
      fc.tuple(name, fc.constantFrom("dtype", "shape", "data_offsets"), odd),
      ([which, field, value]) =>
        refused(withEntry(which, { [field]: value }), [
          "malformed_body",
          "unsupported_dtype",
        ]),
    ));

  test("metadata that is not strings", () =>
    check(
      fc.oneof(
        // Null is none.
        odd.filter((value) => !["{}", "null"].includes(JSON.stringify(value))),
        fc.record({ k: odd.filter((value) => typeof value !== "string") }),
      ),
      (value) =>
        refused(
          withEntries((header) => {
            header.__metadata__ = value;
          }),
          ["malformed_body"],
        ),
    ));

  test("a name twice", async () => {
    const text = JSON.stringify(HEADER);
    const twice = `${text.slice(0, -1)},"a":${JSON.stringify(HEADER.a)}}`;
    await refused(withHeader(twice, [DATA]), ["malformed_body"]);
  });

  test("nothing else than by a problem document: any bytes, any change of one", async () => {
    await check(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      await answered(path, bytes);
    });
    await check(
      fc.tuple(fc.nat(7 + HEADER_BYTES), fc.nat(255)),
      async ([position, byte]) => {
        const body = PLAIN.slice();
        body[position] = byte;
        await answered(path, body);
      },
    );
  });
});

/** A small .npy of f32 zeros with this header. */
function npy(header: string, dataBytes: number, version = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const head = [
    0x93,
    ...new TextEncoder().encode("NUMPY"),
    version,
    0,
    text.length,
    0,
  ];
  return concatenate(head.length + text.length + dataBytes, [
    Uint8Array.from(head),
    text,
  ]);
}

test("a .npy is the tensor x, and a bad one is refused", async () => {
  const good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32), }";
  expect(await answered("/v1/quantize", npy(good, 256))).toBeUndefined();
  const cases: [Uint8Array, string][] = [
    [npy(good, 255), "malformed_body"],
    [npy(good, 256, 9), "malformed_body"],
    [npy("{}", 0), "malformed_body"],
    [npy(good.replace("False", "True"), 256), "shape_mismatch"],
    [npy(good.replace("<f4", ">f4"), 256), "unsupported_dtype"],
    [npy(good.replace("'<f4'", "[('a', '<f4')]"), 256), "unsupported_dtype"],
    [npy(good.replace("(2, 32)", "(2, 3.5)"), 256), "malformed_body"],
    [
      npy(good.replace("(2, 32)", `(${"9".repeat(30)},)`), 256),
      "malformed_body",
    ],
    [npy(good, 256).subarray(0, 9), "malformed_body"],
  ];
  for (const [bytes, code] of cases)
    expect((await answered("/v1/quantize", bytes))?.code).toBe(code);
});

test("a .npy in Fortran order is taken where that is C order", async () => {
  const of = (shape: string, bytes: number) =>
    npy(`{'descr': '<f4', 'fortran_order': True, 'shape': ${shape}, }`, bytes);
  for (const shape of ["(64,)", "(1, 64)", "(64, 1)", "(1, 1, 64)"])
    expect(await answered("/v1/quantize", of(shape, 256))).toBeUndefined();
  expect((await answered("/v1/quantize", of("(2, 1, 32)", 256)))?.code).toBe(
    "shape_mismatch",
  );
});

test.each([
  `{"descr": "<f4", "fortran_order": False, "shape": (2, 32)}`,
  `{'shape':(2,32),'fortran_order':False,'descr':'<f4'}`,
  `  { 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 32 , ) , } `,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 32L), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (64,), }`,
])("a .npy's header is any literal of its dict: %s", async (header) => {
  expect(await answered("/v1/quantize", npy(header, 256))).toBeUndefined();
});

test.each([
  `{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (2, 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32), 'more': 'x', }`,
  `{'x': "'descr': '<f4'", 'fortran_order': False, 'shape': (2, 32), }`,
  `{'descr': '<f4', 'fortran_order': '<f4', 'shape': (2, 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32), } more`,
  `{'descr': '<f4' 'fortran_order': False, 'shape': (2, 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (2,, 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (, 64), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (2 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': (02, 32), }`,
  `{'descr': '<f4', 'fortran_order': False, 'shape': 64, }`,
])("a .npy's header that is no such dict is refused: %s", async (header) => {
  const problem = await answered("/v1/quantize", npy(header, 256));
  expect(problem?.code).toBe("malformed_body");
});

test("bf16 in a .npy is refused with a remedy", async () => {
  for (const descr of ["<V2", "|V2"]) {
    const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (64,), }`;
    const problem = await answered("/v1/quantize", npy(header, 128));
    expect(problem?.code).toBe("unsupported_dtype");
    expect(problem?.detail).toContain("raw with dtype=bf16");
  }
});

test.each([
  ["PK\x03\x04\x14\0\0\0x.npy", "a zip archive, as .npz"],
  ["PK\x03\x04\0\0\b\barchive/data.pkl", "PyTorch's .pt"],
  ["\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "a Python pickle"],
  ["\x80\x04\x95\x10\0\0\0\0\0\0\0}", "a Python pickle"],
  ['{"metadata": {"total_size": 1}}', "model.safetensors.index.json"],
  ['{\n  "metadata": {}, "weight_map": {}}', "model.safetensors.index.json"],
  ["version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"],
  ["\x1f\x8b\x08\0\x10\x20\x30\x65\0\x03 gz", "a gzip archive"],
])("%j is named as what it is", async (text, what) => {
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  for (const path of ["quantize", "dequantize", "analyze"]) {
    const problem = await answered(`/v1/${path}`, bytes);
    expect(problem?.code).toBe("malformed_body");
    expect(problem?.detail).toContain(what);
  }
});

test("what is no file of tensors is told by its first bytes, and what can be done", async () => {
  const text = new TextEncoder().encode("hello, this is no file of tensors");
  expect((await answered("/v1/quantize", text))?.detail).toBe(
    "Expected safetensors, .npy or GGUF, or `dtype` and `shape` for raw values, got a file that begins with the bytes 68 65 6c 6c 6f 2c 20 74",
  );
  const header = "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 32), }";
  expect((await answered("/v1/quantize", npy(header, 256)))?.detail).toMatch(
    /got >f4; save x\.astype\('<f4'\)$/,
  );
});

describe("GGUF", () => {
  const tensor = { name: "w.weight", dimensions: [64, 2], type: 0 };
  const pairs = new Map([
    [
      "general.architecture",
      encodePair("general.architecture", { string: "gpt2" }),
    ],
    ["tokens", encodePair("tokens", { strings: ["a", "b"] })],
  ]);
  const { head, dataBytes } = writeGgufHead(pairs, [tensor]);
  const whole = concatenate(head.length + dataBytes, [head]);

  test("a good one is answered", async () => {
    expect(await answered("/v1/quantize", whole)).toBeUndefined();
    expect((await answered("/v1/dequantize", whole))?.code).toBe(
      "nothing_to_convert",
    );
    expect(await answered("/v1/analyze", whole)).toBeUndefined();
  });

  test("cut anywhere, or with any byte of its head changed, it is refused or answered whole", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
        const problem = await answered(
          "/v1/quantize",
          whole.subarray(0, length),
        );
        expect(problem?.code).toBe("malformed_body");
      }),
      { numRuns: 40 },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.nat(head.length - 1),
        fc.nat(255),
        async (position, byte) => {
          const body = whole.slice();
          body[position] = byte;
          await answered("/v1/quantize", body);
          await answered("/v1/dequantize", body);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("what no reader of GGUF would undo is refused, and what takes no GGUF says so", async () => {
    for (const query of ["hadamard=64", "prescale=0.75", "layout=gpt-oss"])
      expect((await answered(`/v1/quantize?${query}`, whole))?.code).toBe(
        "invalid_option",
      );
    for (const path of ["hadamard", "gemm"])
      expect((await answered(`/v1/${path}`, whole))?.code).toBe(
        "unsupported_media_type",
      );
    const again = new Uint8Array(
      await (await post("/v1/quantize", whole)).arrayBuffer(),
    );
    expect((await answered("/v1/quantize", again))?.code).toBe(
      "name_collision",
    );
  });
});
