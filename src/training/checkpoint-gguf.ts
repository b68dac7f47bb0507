/** A checkpoint as the one file that llama.cpp loads. */
import { SCHEME_PRESETS } from "../api/presets.ts";
import { planFolderGguf } from "../checkpoints/gguf/folder-gguf.ts";
import type { Folder } from "../checkpoints/read-heads.ts";
import { DEFAULT_SCHEME } from "../formats/blocks/scheme.ts";

/** Of the model in it: equal configs give equal bytes. */
const MODEL_NAME = "model";

/** f32, or MXFP4 as llama.cpp's own quantizer rounds and chooses. */
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
