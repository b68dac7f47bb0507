/** The step that cuts as GPT-2 does and writes bytes as characters, as Hugging Face's tokenizer.json has it. */
export const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
} as const;
