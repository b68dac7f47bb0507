/**
 * Reads SentencePiece's own file, a protobuf message (sentencepiece_model.proto): ModelProto {1: pieces {1: piece, 2:
 * score, 3: type}, 2: trainer_spec {3: model_type}, 3: normalizer_spec {2: precompiled_charsmap, 3: add_dummy_prefix,
 * 4: remove_extra_whitespaces}}.
 */
import { AppError } from "../../api/errors.ts";
import { type Token, TOKEN_TYPE, type Vocabulary } from "./tokens.ts";

const UNIGRAM = 1;
const BPE = 2;

/** A field's number, with a numeric value or bytes. */
type Field = { number: number; value: number; bytes: Uint8Array };

/** Errors: `malformed_body`; `invalid_option` for a model type that llama.cpp lacks */
export function readSentencePieces(
  bytes: Uint8Array,
  file: string,
): Vocabulary {
  const tokens: Token[] = [];
  let model = UNIGRAM;
  let [prefix, collapses] = [true, true];
  let charsmap: Uint8Array | undefined;
  for (const { number, bytes: inner } of fieldsOf(bytes, file)) {
    if (number === 1) tokens.push(pieceOf(inner, file));
    for (const field of number === 2 || number === 3
      ? fieldsOf(inner, file)
      : []) {
      if (number === 2 && field.number === 3) model = field.value;
      if (number !== 3) continue;
      if (field.number === 2) charsmap = field.bytes;
      if (field.number === 3) prefix = field.value !== 0;
      if (field.number === 4) collapses = field.value !== 0;
    }
  }
  if (tokens.length === 0) throw malformed(file, "no pieces");
  if (model !== UNIGRAM && model !== BPE)
    throw new AppError(
      "invalid_option",
      `Expected ${file} to be of model type ${UNIGRAM} (unigram) or ${BPE} (byte pairs), got ${model}`,
    );
  return {
    tokens: model === BPE ? tokens.map(asJoined) : tokens,
    pairs: [
      ["tokenizer.ggml.model", { string: model === BPE ? "llama" : "t5" }],
      ["tokenizer.ggml.pre", { string: "default" }],
      ["tokenizer.ggml.add_space_prefix", { boolean: prefix }],
      ...(model === BPE
        ? []
        : ([
            ["tokenizer.ggml.remove_extra_whitespaces", { boolean: collapses }],
          ] as const)),
      ...(model === UNIGRAM && charsmap !== undefined && charsmap.length > 0
        ? ([
            ["tokenizer.ggml.precompiled_charsmap", { uint8s: charsmap }],
          ] as const)
        : []),
    ],
    hasScores: true,
    fallsBack: model === BPE,
  };
}

/**
 * llama.cpp finds user-defined pieces before replacing spaces, and writes SentencePiece's symbol as it is. As normal
 * pieces with a score above all learned ones they are merged first, which finds the same.
 */
function asJoined({ text, type, score }: Token): Token {
  const isJoined = type === TOKEN_TYPE.userDefined && text.includes("▁");
  return { text, type: isJoined ? TOKEN_TYPE.normal : type, score };
}

/** llama.cpp's type numbers equal SentencePiece's. */
function pieceOf(bytes: Uint8Array, file: string): Token {
  const token = { text: "", score: 0, type: 1 };
  for (const field of fieldsOf(bytes, file)) {
    const { number, value, bytes: inner } = field;
    if (number === 1) token.text = new TextDecoder().decode(inner);
    if (number === 2)
      token.score = new DataView(inner.buffer, inner.byteOffset).getFloat32(
        0,
        true,
      );
    if (number === 3) token.type = value;
  }
  return token;
}

/** Errors: `malformed_body` if a field exceeds its message */
function* fieldsOf(message: Uint8Array, file: string): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = message[at++];
      if (byte === undefined || scale > 2 ** 63)
        throw malformed(file, "no number");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    const value = type === 0 ? varint() : 0;
    const length =
      type === 0
        ? 0
        : type === 1
          ? 8
          : type === 5
            ? 4
            : type === 2
              ? varint()
              : NaN;
    if (!(at + length <= message.length))
      throw malformed(file, `a field of type ${type} that ends behind it`);
    yield { number, value, bytes: message.subarray(at, at + length) };
    at += length;
  }
}

function malformed(file: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected ${file} to be SentencePiece's, got ${got}`,
  );
}
