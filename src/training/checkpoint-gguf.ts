/** A checkpoint as a GGUF file for llama.cpp. */
import { SCHEME_PRESETS } from "../api/presets.ts";
import { planFolderGguf } from "../checkpoints/gguf/folder-gguf.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import { DEFAULT_SCHEME } from "../formats/blocks/scheme.ts";

/** The model's name in the file. Constant, so that equal configs give equal bytes. */
const MODEL_NAME = "model";

/**
 * `gguf`: every tensor f32. `gguf-mxfp4`: MXFP4, with the rounding and the choice of tensors of llama.cpp's
 * quantizer.
 */
export function planCheckpointGguf(
  folder: Folder,
  format: "gguf" | "gguf-mxfp4",
) {
  return planFolderGguf(folder, MODEL_NAME, {
    scheme: { ...DEFAULT_SCHEME, ...SCHEME_PRESETS.ggml },
    selection: { include: [], exclude: [] },
    output: "q8_0",
    types: format === "gguf" ? ["*=f32"] : [],
  });
}
