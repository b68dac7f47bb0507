import { expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { concatenate } from "../../src/formats/stream/bytes.ts";
import { DTYPE_BITS } from "../../src/formats/dtype.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";

/** A file with this header text and this many bytes of data: 0, 1, 2, … */
function file(
  header: string,
  dataBytes: number,
  headerBytes?: number,
): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(
    0,
    BigInt(headerBytes ?? text.length),
    true,
  );
  bytes.set(text, 8);
  bytes.set(
    Uint8Array.from({ length: dataBytes }, (_, i) => i),
    8 + text.length,
  );
  return bytes;
}

function tensor(
  dtype: string,
  shape: number[],
  start: number,
  end: number,
): string {
  return JSON.stringify({ dtype, shape, data_offsets: [start, end] });
}

test("a file by hand is read: heads, bytes and metadata", () => {
  const header = `{"b":${tensor("F32", [1, 2], 0, 8)},"__metadata__":{"k":"v"},"a":${tensor("U8", [3], 8, 11)}}  `;
  const { tensors, metadata } = readSafetensors(file(header, 11));
  expect([...metadata]).toEqual([["k", "v"]]);
  expect(tensors).toEqual([
    {
      name: "b",
      dtype: "F32",
      shape: [1, 2],
      bytes: new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]),
    },
    { name: "a", dtype: "U8", shape: [3], bytes: new Uint8Array([8, 9, 10]) },
  ]);
});

test("the bytes written are these", () => {
  const { bytes, chunks } = writeSafetensors(
    [
      {
        name: "a",
        dtype: "U8",
        shape: [2],
        chunks: [new Uint8Array([1]), new Uint8Array([2])],
      },
      {
        name: "b",
        dtype: "F32",
        shape: [],
        chunks: [new Uint8Array([3, 4, 5, 6])],
      },
    ],
    new Map([
      ["z", "1"],
      ["k", "ü"],
    ]),
  );
  const json =
    '{"__metadata__":{"k":"ü","z":"1"},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}';
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.length / 8) * 8;
  const written = concatenate(bytes, chunks);
  expect(written.length).toBe(8 + padded + 6);
  expect(new DataView(written.buffer).getBigUint64(0, true)).toBe(
    BigInt(padded),
  );
  expect(new TextDecoder().decode(written.subarray(8, 8 + padded))).toBe(
    json + " ".repeat(padded - text.length),
  );
  expect([...written.subarray(8 + padded)]).toEqual([3, 4, 5, 6, 1, 2]);
});

test("what is written is read again: every dtype, empty tensors, names that JSON and objects twist", () => {
  const names = [
    "10",
    "9",
    "",
    "__proto__",
    "constructor",
    'q"\\',
    "ü\u0000\ud83d\ude00",
    "layer.0.weight",
  ];
  const tensors = [
    ...Object.keys(DTYPE_BITS).map((dtype) => {
      const bits = DTYPE_BITS[dtype as keyof typeof DTYPE_BITS];
      return {
        name: `t.${dtype}`,
        dtype: dtype as keyof typeof DTYPE_BITS,
        shape: [4, 2],
        bytes: new Uint8Array(bits).fill(bits),
      };
    }),
    ...names.map((name, i) => ({
      name,
      dtype: "U8" as const,
      shape: [1],
      bytes: new Uint8Array([i]),
    })),
    {
      name: "empty",
      dtype: "F32" as const,
      shape: [0, 32],
      bytes: new Uint8Array(0),
    },
  ];
  const metadata = new Map([
    ["__proto__", "x"],
    ["7", "y"],
  ]);
  const { bytes, chunks } = writeSafetensors(
    tensors.map((t) => ({ ...t, chunks: [t.bytes] })),
    metadata,
  );
  const read = readSafetensors(concatenate(bytes, chunks));
  const byName = new Map(read.tensors.map((t) => [t.name, t]));
  expect(byName.size).toBe(tensors.length);
  for (const t of tensors) {
    expect(byName.get(t.name)).toEqual({ ...t, name: t.name });
  }
  expect(new Map(read.metadata)).toEqual(metadata);
});

test("the order of the tensors given does not show in the bytes", () => {
  const tensors = ["b", "a", "Z", "é"].map((name, i) => ({
    name,
    dtype: i % 2 ? ("F32" as const) : ("U8" as const),
    shape: [1],
    chunks: [new Uint8Array(i % 2 ? 4 : 1).fill(i)],
  }));
  const bytesOf = (list: typeof tensors) => {
    const { bytes, chunks } = writeSafetensors(list, new Map());
    return concatenate(bytes, chunks);
  };
  expect(bytesOf(tensors.toReversed())).toEqual(bytesOf(tensors));
});

test("two tensors of one name are not written", () => {
  const x = { name: "x", dtype: "U8" as const, shape: [0], chunks: [] };
  expect(codeOf(() => writeSafetensors([x, x], new Map()))).toBe(
    "name_collision",
  );
  const reserved = { ...x, name: "__metadata__" };
  expect(codeOf(() => writeSafetensors([reserved], new Map()))).toBe(
    "name_collision",
  );
});

function codeOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
  return "none";
}

const ONE = tensor("U8", [4], 0, 4);
const MALFORMED: [string, Uint8Array][] = [
  ["nothing", new Uint8Array(0)],
  ["seven bytes", new Uint8Array(7)],
  ["a header longer than the file", file("{}", 0, 3)],
  ["a header of 2^63 bytes", file("{}", 0, 2 ** 63)],
  ["no header", new Uint8Array(8)],
  ["a header that is no JSON", file("{x}", 0)],
  [
    "a header that is no UTF-8",
    new Uint8Array([4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x22, 0xff, 0x7d]),
  ],
  ["a header with a byte order mark", file("\ufeff{}", 0)],
  ["a header that is an array", file("[]", 0)],
  ["a header that is null", file("null", 0)],
  ["a tensor that is null", file('{"a":null}', 0)],
  ["a negative size", file(`{"a":${tensor("U8", [-4], 0, 4)}}`, 4)],
  ["a fraction as size", file(`{"a":${tensor("U8", [0.5, 8], 0, 4)}}`, 4)],
  [
    "a size that is a string",
    file('{"a":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}}', 4),
  ],
  [
    "a shape past 2^53",
    file(`{"a":${tensor("U8", [2 ** 30, 2 ** 30], 0, 4)}}`, 4),
  ],
  [
    "one offset",
    file('{"a":{"dtype":"U8","shape":[4],"data_offsets":[4]}}', 4),
  ],
  ["offsets in the wrong order", file(`{"a":${tensor("U8", [4], 4, 0)}}`, 4)],
  ["offsets past the end", file(`{"a":${tensor("U8", [5], 0, 5)}}`, 4)],
  [
    "fewer bytes than the shape needs",
    file(`{"a":${tensor("F32", [2], 0, 4)}}`, 4),
  ],
  ["half a byte", file(`{"a":${tensor("F4", [7], 0, 4)}}`, 4)],
  ["an overlap", file(`{"a":${ONE},"b":${tensor("U8", [4], 2, 6)}}`, 6)],
  ["the same bytes twice", file(`{"a":${ONE},"b":${ONE}}`, 4)],
  ["a gap", file(`{"a":${ONE},"b":${tensor("U8", [1], 5, 6)}}`, 6)],
  ["a gap before the first", file(`{"a":${tensor("U8", [4], 1, 5)}}`, 5)],
  ["bytes after the last", file(`{"a":${ONE}}`, 5)],
  ["a name twice", file(`{"a":${tensor("U8", [0], 0, 0)},"a":${ONE}}`, 4)],
  [
    "a name twice, once escaped",
    file(`{"a":${tensor("U8", [0], 0, 0)},"\\u0061" :${ONE}}`, 4),
  ],
  [
    "a dtype twice",
    file(
      '{"a":{"dtype":"I8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}',
      4,
    ),
  ],
  [
    "offsets twice, once escaped",
    file(
      '{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4],"data\\u005foffsets":[0,4]}}',
      4,
    ),
  ],
  [
    "a key of the metadata twice",
    file('{"__metadata__":{"k":"1","k":"1"}}', 0),
  ],
  ...["4.0", "4e0", "0.4e1", "40E-1"].map((size): [string, Uint8Array] => [
    `a size written ${size}`,
    file(`{"a":{"dtype":"U8","shape":[${size}],"data_offsets":[0,4]}}`, 4),
  ]),
  ...["-0", "0.0", "0e9"].map((position): [string, Uint8Array] => [
    `a position written ${position}`,
    file(
      `{"a":{"dtype":"U8","shape":[4],"data_offsets":[ ${position} ,4]}}`,
      4,
    ),
  ]),
  [
    "a shape past 2^53 that ends in 0",
    file(`{"a":${tensor("U8", [2 ** 40, 2 ** 40, 0], 0, 0)}}`, 0),
  ],
  ...[128, 200_000].flatMap((levels): [string, Uint8Array][] => {
    const nested = "[".repeat(levels - 1) + "]".repeat(levels - 1);
    return [
      [`a header of ${levels} levels`, file(`[${nested}]`, 0)],
      [`a tensor of ${levels} levels`, file(`{"a":${nested}}`, 0)],
      [
        `a member that is passed over, of ${levels} levels`,
        file(
          `{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":${nested}}}`,
          0,
        ),
      ],
      [
        `metadata of ${levels} levels`,
        file(`{"__metadata__":{"k":${nested}}}`, 0),
      ],
    ];
  }),
  ["metadata twice", file('{"__metadata__":{},"__metadata__":{}}', 0)],
  ["metadata that is a string", file('{"__metadata__":"x"}', 0)],
  ["a name with half of a pair of surrogates", file(`{"a\\ud800":${ONE}}`, 4)],
  ["metadata of half a pair", file('{"__metadata__":{"k":"\\udc00"}}', 0)],
  ["metadata with a number", file('{"__metadata__":{"k":1}}', 0)],
];

test("a file of another kind is refused by its first 8 bytes, however long it is", () => {
  const other = new Uint8Array(1_000_000).fill(0x20);
  expect(() => readSafetensors(other)).toThrow(
    /got a file that begins with the bytes 20 20 20 20 20 20 20 20$/,
  );
});

test("metadata may be null, and a pair of surrogates is a letter", () => {
  const none = readSafetensors(file(`{"__metadata__":null,"a":${ONE}}`, 4));
  expect(none.metadata.size).toBe(0);
  expect(none.tensors.map(({ name }) => name)).toEqual(["a"]);
  const pair = readSafetensors(file(`{"\\ud83d\\ude00":${ONE}}`, 4));
  expect(pair.tensors[0]!.name).toBe("\u{1f600}");
});

test.each(MALFORMED)("%s is refused", (_, bytes) => {
  expect(codeOf(() => readSafetensors(bytes))).toBe("malformed_body");
});

test("a dtype that is not known is refused", () => {
  for (const dtype of ["F128", "f32", "toString", "", undefined as never]) {
    expect(
      codeOf(() =>
        readSafetensors(file(`{"a":${tensor(dtype, [4], 0, 4)}}`, 4)),
      ),
    ).toBe("unsupported_dtype");
  }
});

test("a header past 8 MiB is refused, one just below is read", () => {
  const pad = (bytes: number) => file(`{"a":${ONE}}`.padEnd(bytes), 4);
  expect(readSafetensors(pad(8 * 2 ** 20)).tensors.length).toBe(1);
  expect(codeOf(() => readSafetensors(pad(8 * 2 ** 20 + 1)))).toBe(
    "malformed_body",
  );
});

test("more tensors than an isolate has room for are refused, as many as it has are read", () => {
  const head = (count: number) => {
    const entries = Array.from(
      { length: count },
      (_, index) => `"${index}":${tensor("U8", [0], 0, 0)}`,
    );
    return file(`{${entries.join(",")}}`, 0);
  };
  expect(readSafetensors(head(16_384)).tensors.length).toBe(16_384);
  expect(() => readSafetensors(head(16_385))).toThrow(
    "Expected at most 16384 tensors in one file, got more; split it",
  );
});

test("members that are passed over may hold any number, and 127 levels are read", () => {
  const nested = "[".repeat(124) + '{"dtype":1.5e0}' + "]".repeat(124);
  const entry = `{"dtype":"U8","x":${nested},"y":-0.0,"shape":[4],"data_offsets":[0,4]}`;
  const { tensors } = readSafetensors(file(`{"a":${entry}}`, 4));
  expect(tensors.map(({ shape }) => shape)).toEqual([[4]]);
  const empty = tensor("U8", [0, 2 ** 40, 2 ** 40], 0, 0);
  expect(readSafetensors(file(`{"a":${empty}}`, 0)).tensors.length).toBe(1);
});

test("more members or items than an isolate has room for are refused before they are parsed", () => {
  const metadata = Array.from({ length: 330_000 }, (_, i) => `"${i}":""`);
  const headers = [
    `{"__metadata__":{${metadata.join(",")}}}`,
    `{"a":{"x":[${"[],".repeat(330_000)}[]]}}`,
    `{"a":{"shape":[${"1,".repeat(330_000)}1]}}`,
  ];
  for (const header of headers)
    expect(() => readSafetensors(file(header, 0))).toThrow(
      "Expected a safetensors header of at most 327680 members and items, got more; split the file",
    );
});

test("a header of quotes and backslashes without an end is refused at once", () => {
  for (const text of ['{"a', '{"a\\', '{"\\"'])
    expect(
      codeOf(() => readSafetensors(file(text + '\\"'.repeat(2 ** 21), 0))),
    ).toBe("malformed_body");
});

test("a name of megabytes is read", () => {
  const name = "n\\n".repeat(2 ** 21);
  const { tensors } = readSafetensors(file(`{"${name}":${ONE}}`, 4));
  expect(tensors[0]!.name.length).toBe(2 ** 22);
});
