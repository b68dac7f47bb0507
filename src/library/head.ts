/** Reads the header of a tensor file, without its data. */
import { openBody } from "../api/tensor-body.ts";
import type { FileHead, TensorBody } from "../api/tensors.ts";
import { ggufText } from "../formats/containers/gguf-value.ts";
import { readTensorFile } from "../formats/containers/containers.ts";
import { StreamSource } from "../formats/stream/stream-source.ts";

/** Errors: `malformed_body`, `unsupported_dtype`, `body_too_large` for too many tensors */
export async function readHead(body: TensorBody): Promise<FileHead> {
  const { stream, bytes } = openBody(body);
  const source = new StreamSource(stream);
  try {
    const file = await readTensorFile(source, bytes);
    const { headBytes, tensors, metadata, target } = file;
    const entries = Array.from(metadata, ([key, value]) => [
      key,
      typeof value === "string" ? value : ggufText(value),
    ]);
    return {
      container: target.name,
      tensors: tensors.map((tensor) => ({
        ...tensor,
        start: headBytes + tensor.start,
        end: headBytes + tensor.end,
      })),
      metadata: Object.fromEntries(
        entries.filter(([, value]) => value !== undefined),
      ) as Record<string, string>,
    };
  } finally {
    await source.cancel();
  }
}
