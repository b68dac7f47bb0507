/** Allocates the activations that a forward pass keeps for the backward pass. */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import type {
  BlockActivations,
  BlockBetween,
  BlockInside,
  Layers,
  Parts,
  Sizes,
} from "./layers.ts";
import type { KeptActivations } from "./model.ts";

export type Activations<P extends Parts> = {
  blocks: BlockActivations<P>[];
  /** Saved by the final norm. */
  final: P["moments"];
  /** [N, C], the head's input */
  hidden: Pointer;
};

/**
 * Allocates for one forward pass, in the caller's arena scope. What is not kept shares one buffer: elementwise
 * results, if the products' operands are kept; everything inside blocks, if only their inputs are; and the residual
 * stream too, in place, if nothing is.
 */
export function allocActivations<P extends Parts>(
  layers: Layers<P>,
  sizes: Sizes<P>,
  keeps: KeptActivations | "nothing",
): Activations<P> {
  const { arena } = kernels();
  const { shape, batch } = sizes;
  const { B, T, N } = batch;
  const { width: C, heads: NH } = shape;
  const widths = layers.widths(shape);
  const allocKept = layers.allocKept(sizes);
  const allocBetween = (): BlockBetween => ({
    norm1: arena.allocF32(N * C),
    norm2: arena.allocF32(N * C),
    gated: arena.allocF32(N * widths.gated),
  });
  const allocInside = (own: BlockBetween): BlockInside<P> => ({
    ...own,
    ...allocKept(),
    moments1: layers.allocMoments(N),
    qkv: arena.allocF32(N * widths.qkv),
    logSumExp: arena.allocF32(B * NH * T),
    attention: arena.allocF32(N * widths.attention),
    middle: arena.allocF32(N * C),
    moments2: layers.allocMoments(N),
    up: arena.allocF32(N * widths.up),
  });

  const blocks: BlockActivations<P>[] = [];
  let between = allocBetween();
  let input = arena.allocF32(N * C);
  let inside = allocInside(between);
  for (let layer = 0; layer < shape.layers; layer++) {
    if (keeps === "all" && layer > 0) between = allocBetween();
    if ((keeps === "all" || keeps === "products") && layer > 0) {
      inside = allocInside(between);
    }
    const output = keeps === "nothing" ? input : arena.allocF32(N * C);
    blocks.push({ ...inside, input, output });
    input = output;
  }
  const hidden = arena.allocF32(N * C);
  return { blocks, final: layers.allocMoments(N), hidden };
}
