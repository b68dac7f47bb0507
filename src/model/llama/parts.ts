/** Llama's own types. */
import type { LlamaShape } from "../../api/run-config.ts";
import type { Pointer } from "../../kernels/arena.ts";
import type { Angles } from "../../kernels/attention.ts";
import type { BlockTensors } from "./parameters.ts";

export type LlamaParts = {
  shape: LlamaShape;
  block: BlockTensors;
  /** rstd of each row. */
  moments: Pointer; // [N]
  kept: {
    /** For the positions of a sequence, shared by all blocks. */
    angles: Angles;
    /** With head norms: qkv after norms and rotation, and rstd of the norms. */
    headNorms: { qkv: Pointer; rstd: Pointer } | undefined;
  };
};
