/** The types that are a Llama's own. */
import type { LlamaShape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { Angles } from "../../kernels/attention.ts";
import type { BlockTensors } from "./parameters.ts";

export type LlamaParts = {
  shape: LlamaShape;
  block: BlockTensors;
  /** Of each row its rstd. */
  moments: Pointer; // [N]
  kept: {
    /** Of a sequence's positions, the same for all blocks. */
    angles: Angles;
    /** Where heads are normed: their queries and keys normed and turned beside the values, and what their norms keep. */
    headNorms: { qkv: Pointer; rstd: Pointer } | undefined;
  };
};
