/** Plans converting a quantized directory: decoding it, or moving it to another layout. */
import type { Watch } from "../formats/blocks/nonfinite.ts";
import type { DecodedDtype } from "../formats/dtype.ts";
import type { ModelConfig } from "../formats/roles/model-config.ts";
import { CONFIG_FILE } from "./checkpoint.ts";
import type { PlannedShard } from "./shards.ts";
import type { StoredBlocks } from "./stored-blocks.ts";
import {
  copiedPart,
  float8Part,
  type WrittenPart,
  writtenFiles,
} from "./written-parts.ts";

export type BlocksPlan = {
  shards: readonly PlannedShard[];
  /** The config, if there is one, and the index if there are several shards. */
  texts: readonly (readonly [file: string, text: string])[];
  /** README.md for a model of this name, with the SHA-256 of the output of each tensor in `digested`. */
  card: (name: string, digestOf: (tensor: string) => string) => string;
  digested: ReadonlySet<string>;
  /** What was done, in words. */
  done: string;
};

/**
 * `parts` is the output of the quantized tensors; FP8 becomes floats of `dtype`, and the rest is copied. Errors:
 * those of `writtenFiles`
 */
export function writtenBlocks(
  { float8, others }: StoredBlocks,
  becomes: {
    parts: readonly WrittenPart[];
    dtype: DecodedDtype;
    config: ModelConfig | undefined;
    maxShardBytes: number;
    watch: Watch | undefined;
  },
): Pick<BlocksPlan, "shards" | "texts"> {
  const { parts, dtype, config, maxShardBytes, watch } = becomes;
  const floats = Array.from(float8.values(), (tensor) =>
    float8Part(tensor, dtype, watch),
  );
  const { shards, index } = writtenFiles(
    [...parts, ...floats, ...others.map((tensor) => copiedPart(tensor, watch))],
    maxShardBytes,
  );
  return {
    shards,
    texts: [
      ...(config
        ? [[CONFIG_FILE, `${JSON.stringify(config, null, 2)}\n`] as const]
        : []),
      ...(index ? [index] : []),
    ],
  };
}
