import { AppError } from "../../api/errors.ts";

/** For a part of tokenizer.json that a GGUF has no key for, and that llama.cpp would cut a text without. */
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
