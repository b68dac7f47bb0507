/** Texts that cannot be trained on are refused before anything is started. */
import {
  mkdirSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MAX_DATASET_BYTES } from "../../src/api/dataset.ts";
import { nextStep } from "../../src/cli/next-step.ts";
import { checkEncoding, textFileOf } from "../../src/cli/train/text-file.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-text-file-"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(bytes: Uint8Array | string): string {
  const path = join(folder, "text.txt");
  writeFileSync(path, bytes);
  return path;
}

function refusal(
  body: () => void,
): [message: string, step: string | undefined] {
  try {
    body();
  } catch (error) {
    return [(error as Error).message, nextStep(error)];
  }
  throw new Error("Expected a refusal, got none");
}

test("one that is empty, too long, or none is told by its name", () => {
  const empty = file("");
  expect(refusal(() => textFileOf(empty))[0]).toBe(
    `Expected --text to be a file of at least 1 byte, got none in ${empty}`,
  );
  const long = file("x");
  truncateSync(long, MAX_DATASET_BYTES);
  expect(textFileOf(long)).toBe(long);
  truncateSync(long, MAX_DATASET_BYTES + 1);
  const [message, step] = refusal(() => textFileOf(long));
  expect(message).toBe(
    `Expected --text to be a file of at most ${MAX_DATASET_BYTES} bytes, got ${MAX_DATASET_BYTES + 1} in ${long}`,
  );
  expect(step).toContain("split -C 100m");
  mkdirSync(join(folder, "directory"));
  for (const none of [join(folder, "none"), join(folder, "directory")])
    expect(refusal(() => textFileOf(none))[0]).toBe(
      `Expected --text to be a file, got ${none}`,
    );
});

const MIB = 1024 * 1024;
const text = (length: number, end: string) =>
  Buffer.concat([Buffer.alloc(length, "a"), Buffer.from(end)]);

// Characters of two, three and four bytes are cut by the end of what is read at once.
test.each([
  ["short", text(3, "é\r\n")],
  ["with a mark", text(0, "\ufeffé")],
  ...[1, 2, 3, 4].flatMap((back) =>
    ["é", "€", "𝄞"].map((end): [string, Buffer] => [
      `${end} ${back} before 1 MiB`,
      text(MIB - back, `${end}${"b".repeat(9)}`),
    ]),
  ),
])("UTF-8, %s, is taken", (_, bytes) => {
  expect(() => checkEncoding(file(bytes), "bpe")).not.toThrow();
});

const latin1 = (before: number) =>
  Buffer.concat([text(before, ""), Buffer.from("caf\xe9 noir", "latin1")]);

test.each<[string, Buffer, byte: string, offset: number, encoding: string]>([
  ["Latin-1", latin1(0), "byte 0x20", 4, "latin1"],
  ["Latin-1 after 1 MiB", latin1(MIB), "byte 0x20", MIB + 4, "latin1"],
  ["Latin-1 around 1 MiB", latin1(MIB - 4), "byte 0x20", MIB, "latin1"],
  [
    "Latin-1 after a cut character",
    Buffer.concat([text(MIB - 1, "€"), latin1(0)]),
    "byte 0x20",
    MIB + 6,
    "latin1",
  ],
  [
    "Latin-1 at the end",
    latin1(0).subarray(0, 4),
    "an end amid a character",
    4,
    "latin1",
  ],
  [
    "UTF-16, little-endian",
    Buffer.from("\ufeffab", "utf16le"),
    "byte 0xff",
    0,
    "utf-16",
  ],
  [
    "UTF-16, big-endian",
    Buffer.from("\ufeffab", "utf16le").swap16(),
    "byte 0xfe",
    0,
    "utf-16",
  ],
  ["no text", Buffer.from([0, 1, 0x80, 3]), "byte 0x80", 2, "latin1"],
])(
  "%s is refused by its first wrong byte",
  (_, bytes, byte, offset, encoding) => {
    const path = file(bytes);
    const [message, step] = refusal(() => checkEncoding(path, "bpe"));
    expect(message).toBe(
      `Expected --text to be a file in UTF-8, got ${byte} at offset ${offset} of ${path}`,
    );
    expect(step).toContain(`iconv -f ${encoding} -t utf-8 ${path} > utf8.txt`);
    expect(() => checkEncoding(path, "byte")).not.toThrow();
  },
);
