/** Tokenizers of each kind, small, and what they make of a text. */

type Case = {
  /** What config.json says beside what it says of the model. */
  config?: object;
  files: Record<string, object | Uint8Array>;
  text: string;
  ids: number[];
  /** What is written of them, where a piece is written otherwise than it is called. */
  written?: string;
};

/** GPT-2's printable stand-in for each byte. */
const BYTES = Array.from({ length: 256 }, (_, byte) =>
  (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    ? String.fromCharCode(byte)
    : undefined,
).map(
  (char, byte, all) =>
    char ??
    String.fromCharCode(
      256 + all.slice(0, byte).filter((each) => each === undefined).length,
    ),
);

const MERGES = ["l l", "h e", "he ll", "Ġ w", "1 2", "12 3", "123 4"];
const byteLevel = (preTokenizer: object) => ({
  added_tokens: [
    { id: 250, content: "<|end|>", special: true },
    { id: 251, content: "<tool>", special: false },
  ],
  pre_tokenizer: preTokenizer,
  decoder: { type: "ByteLevel" },
  model: {
    type: "BPE",
    vocab: Object.fromEntries(
      [
        ...BYTES.slice(0, 240),
        ...MERGES.map((merge) => merge.replace(" ", "")),
      ].map((token, id) => [token, id]),
    ),
    merges: MERGES,
  },
});
const byte = (char: string) => char.charCodeAt(0);
/** Of `hello world`. */
const HELLO = [242, byte("o"), 243, byte("o"), byte("r"), byte("l"), byte("d")];

const LLAMA3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** SentencePiece's pieces before those that it learned: of every byte. */
const FALLBACK = [
  "<unk>",
  "<s>",
  "</s>",
  ...Array.from(
    { length: 256 },
    (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`,
  ),
];
const PAIRS = ["a t", "▁ c", "▁c at", "t h"];
const LEARNED = ["at", "▁c", "▁cat", "th", "▁", "a", "c", "t", "h", "e"];
const SPACES = FALLBACK.length + LEARNED.length;
const idOf = (piece: string) => [...FALLBACK, ...LEARNED].indexOf(piece);

const UNIGRAM_PIECES: [string, number][] = [
  ["<pad>", 0],
  ["</s>", 0],
  ["<unk>", 0],
  ["▁the", -2],
  ["▁c", -3],
  ["▁cat", -9],
  ["at", -3],
  ["▁sat", -4],
  ["t", -6],
  ["a", -6],
];

export const TOKENIZERS: Record<string, Case> = {
  "GPT-2's byte pairs": {
    files: {
      "tokenizer.json": byteLevel({
        type: "ByteLevel",
        add_prefix_space: false,
      }),
    },
    text: "hello world<|end|><tool>1234",
    ids: [...HELLO, 250, 251, 246],
  },
  "Llama 3's, whose digits go by three": {
    files: {
      "tokenizer.json": byteLevel({
        type: "Sequence",
        pretokenizers: [
          { type: "Split", pattern: { Regex: LLAMA3 }, behavior: "Isolated" },
          { type: "ByteLevel", use_regex: false },
        ],
      }),
      "tokenizer_config.json": { add_bos_token: false, eos_token: "<|end|>" },
    },
    text: "hello world1234",
    ids: [...HELLO, 245, byte("4")],
  },
  // Without NFC it has another name in llama.cpp than Qwen's own.
  "Qwen 2's, whose digits stand apart": {
    files: {
      "tokenizer.json": byteLevel({
        type: "Sequence",
        pretokenizers: [
          {
            type: "Split",
            pattern: { Regex: LLAMA3.replace("{1,3}", "") },
            behavior: "Isolated",
          },
          { type: "ByteLevel", use_regex: false },
        ],
      }),
    },
    text: "hello world12",
    ids: [...HELLO, byte("1"), byte("2")],
  },
  "Llama 2's, by the rank of merges": {
    files: {
      "tokenizer.json": {
        added_tokens: [],
        normalizer: {
          type: "Sequence",
          normalizers: [
            { type: "Prepend", prepend: "▁" },
            { type: "Replace", pattern: { String: " " }, content: "▁" },
          ],
        },
        model: {
          type: "BPE",
          byte_fallback: true,
          unk_token: "<unk>",
          vocab: Object.fromEntries(
            [...FALLBACK, ...LEARNED].map((token, id) => [token, id]),
          ),
          merges: PAIRS,
        },
      },
    },
    text: "cath!",
    // `a t` comes before `t h`.
    ids: [idOf("▁cat"), idOf("h"), idOf("<0x21>")],
  },
  "T5's, the likeliest pieces, not the longest": {
    files: {
      "tokenizer.json": {
        added_tokens: [
          { id: 0, content: "<pad>", special: true },
          { id: 1, content: "</s>", special: true },
        ],
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [
            { type: "WhitespaceSplit" },
            { type: "Metaspace", replacement: "▁", add_prefix_space: true },
          ],
        },
        model: { type: "Unigram", unk_id: 2, vocab: UNIGRAM_PIECES },
      },
    },
    text: "  the cat  sat",
    ids: [3, 4, 6, 7],
  },
  "SentencePiece's own file of byte pairs": {
    files: {
      "tokenizer.model": sentencePieces(
        [...FALLBACK, ...LEARNED].map((piece, id) => [
          piece,
          LEARNED.includes(piece) ? -id : 0,
        ]),
        2,
      ),
    },
    text: "cath!",
    ids: [idOf("▁cat"), idOf("h"), idOf("<0x21>")],
  },
  "SentencePiece's own file with spaces of users": {
    files: {
      "tokenizer.model": sentencePieces(
        [
          ...[...FALLBACK, ...LEARNED].map(
            (piece, id) => [piece, LEARNED.includes(piece) ? -id : 0] as const,
          ),
          ["▁▁", 0],
        ],
        2,
        ["▁▁"],
      ),
    },
    text: "a  cat",
    // A space that is the user's is none of `▁cat`.
    ids: [...["▁", "a"].map(idOf), SPACES, ...["c", "at"].map(idOf)],
    written: "a  cat",
  },
  "SentencePiece's own file of likely pieces": {
    files: { "spiece.model": sentencePieces(UNIGRAM_PIECES, 1) },
    text: "the  cat sat",
    ids: [3, 4, 6, 7],
  },
};

/** ModelProto, field by field. */
function sentencePieces(
  pieces: readonly (readonly [string, number])[],
  modelType: number,
  ofUsers: readonly string[] = [],
): Uint8Array {
  const typeOf = (piece: string) =>
    piece === "<unk>"
      ? 2
      : /^<(s|\/s|pad)>$/.test(piece)
        ? 3
        : piece.startsWith("<0x")
          ? 6
          : ofUsers.includes(piece)
            ? 4
            : 1;
  const message = (number: number, bytes: Buffer) =>
    Buffer.concat([Buffer.from([number * 8 + 2]), varint(bytes.length), bytes]);
  const score = (value: number) => {
    const bytes = Buffer.alloc(5);
    bytes[0] = 2 * 8 + 5;
    bytes.writeFloatLE(value, 1);
    return bytes;
  };
  return Buffer.concat([
    ...pieces.map(([piece, value]) =>
      message(
        1,
        Buffer.concat([
          message(1, Buffer.from(piece)),
          score(value),
          Buffer.from([3 * 8, typeOf(piece)]),
        ]),
      ),
    ),
    message(2, Buffer.from([3 * 8, modelType])),
    message(3, Buffer.from([3 * 8, 1, 4 * 8, 1])),
  ]);
}

function varint(value: number): Buffer {
  return value < 128
    ? Buffer.from([value])
    : Buffer.concat([Buffer.from([128 | (value & 127)]), varint(value >> 7)]);
}
