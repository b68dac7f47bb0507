/** Recognizes files of other formats by their first bytes, and tells what to do with them. */
import { AppError } from "../../api/errors.ts";

const LFS_POINTER = "version ";
const ZIP = "PK\x03\x04";
const GZIP = "\x1f\x8b";
/** Followed by the protocol version, 2 or later. */
const PICKLE = 0x80;
/** No safetensors header is this long; a shorter one may be valid. */
const LONG_HEADER = 2 ** 24;

/** Errors: `malformed_body` if the file begins like another known format */
export function refuseOtherFiles(first: Uint8Array): void {
  const view = new DataView(first.buffer, first.byteOffset, first.length);
  if (view.getBigUint64(0, true) < LONG_HEADER) return;
  const other = kindOf(first);
  if (other === undefined) return;
  throw new AppError(
    "malformed_body",
    `Expected safetensors, .npy or GGUF, got ${other}`,
  );
}

function kindOf(first: Uint8Array): string | undefined {
  const text = String.fromCharCode(...first);
  if (text === LFS_POINTER)
    return "text as a Git LFS pointer is, which stands for the file: fetch that with `git lfs pull`";
  if (text.startsWith(ZIP))
    return "a zip archive, as .npz and PyTorch's .pt and .bin are: save one array as .npy, or tensors as safetensors";
  if (text.startsWith(GZIP)) return "a gzip archive: unpack it";
  if (first[0] === PICKLE && first[1]! >= 2 && first[1]! <= 5)
    return "a Python pickle, as PyTorch's old .bin and .pt are: save tensors as safetensors";
  if (/^\s*[{[]\s*["{[\]}]/.test(text) || /^\{\s*$/.test(text))
    return "JSON, as model.safetensors.index.json is: send the *.safetensors that it names, one by one";
  return undefined;
}
