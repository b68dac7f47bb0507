import { AppError } from "../../api/errors.ts";

/** For a part of tokenizer.json that a GGUF cannot represent, so that llama.cpp would tokenize differently. */
export function notCarried(
  part: string,
  why: string,
  remedy = "take a tokenizer without it",
): AppError {
  return new AppError(
    "invalid_option",
    `Expected a tokenizer.json of which a GGUF carries every part, got ${part}: ${why}. Keep the model in Hugging Face's format (format=hf), or ${remedy}`,
  );
}
