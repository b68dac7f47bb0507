/** The pre-tokenizer step that splits like GPT-2 and maps bytes to characters, as in Hugging Face's tokenizer.json. */
export const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
} as const;
