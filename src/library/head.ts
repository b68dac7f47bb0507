/** What a file of tensors says of itself: its head, without its data. */
import { openBody } from "../api/tensor-body.ts";
import type { FileHead, TensorBody } from "../api/tensors.ts";
import { ggufText } from "../formats/containers/gguf-value.ts";
import {
  paddingAfter,
  TENSOR_TYPES,
  tensorBytes,
} from "../formats/containers/gguf-types.ts";
import {
  type GgufInput,
  readInput,
  type TensorInput,
} from "../formats/containers/input.ts";
import { StreamSource } from "../formats/stream/stream-source.ts";

/** Errors: `malformed_body`, `unsupported_dtype`, `body_too_large` for too many tensors */
export async function readHead(body: TensorBody): Promise<FileHead> {
  const { stream, bytes } = openBody(body);
  const source = new StreamSource(stream);
  try {
    const input = await readInput(source, bytes);
    return input.container === "gguf" ? ggufHead(input) : headOf(input);
  } finally {
    await source.cancel();
  }
}

function headOf({ headBytes, tensors, metadata }: TensorInput): FileHead {
  return {
    container: "safetensors",
    tensors: tensors.map((tensor) => ({
      ...tensor,
      start: headBytes + tensor.start,
      end: headBytes + tensor.end,
    })),
    metadata: Object.fromEntries(metadata),
  };
}

function ggufHead({ headBytes, gguf }: GgufInput): FileHead {
  let at = headBytes;
  const tensors = gguf.tensors.map((tensor) => {
    const [start, end] = [at, at + tensorBytes(tensor)];
    at = end + paddingAfter(end - headBytes, gguf.alignment);
    const [dtype] = TENSOR_TYPES[tensor.type]!;
    const shape = tensor.dimensions.toReversed();
    return { name: tensor.name, dtype, shape, start, end };
  });
  const texts = Array.from(gguf.pairs, ([key, pair]) => [key, ggufText(pair)]);
  const told = texts.filter(([, text]) => text !== undefined);
  return {
    container: "gguf",
    tensors,
    metadata: Object.fromEntries(told) as Record<string, string>,
  };
}
