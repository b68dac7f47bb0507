/** Room for what a forward pass leaves for the backward pass. */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import type { KeptActivations } from "./model.ts";

/** Sizes of one batch: N = B · T tokens. */
export type BatchShape = { B: number; T: number; N: number };

/** Where the residual stream comes into a block and goes out, f32 [N, C]; neighbours share them. */
export type Ends = { input: Pointer; output: Pointer };

/** What an architecture's parts take, in the caller's scope. */
export type Room<Between, Inside, Final> = {
  /** What products take, and elementwise work makes of what is kept. */
  between: () => Between;
  /** All of a block but its ends. */
  inside: (between: Between) => Inside;
  /** What the last norm keeps. */
  final: () => Final;
};

export type Activations<Inside, Final> = {
  blocks: (Inside & Ends)[];
  final: Final;
  /** [N, C], the head's input */
  hidden: Pointer;
};

/**
 * Room for one forward pass, in the caller's scope. What is not kept is taken in turns: by what lies between the
 * products when they are kept, by the whole insides of the blocks when only their inputs are, and by the
 * residual stream too, in place, when nothing is.
 */
export function allocActivations<Between, Inside, Final>(
  room: Room<Between, Inside, Final>,
  { layers, width: C }: { layers: number; width: number },
  { N }: BatchShape,
  keeps: KeptActivations | "nothing",
): Activations<Inside, Final> {
  const { arena } = kernels();
  const blocks: (Inside & Ends)[] = [];
  let between = room.between();
  let input = arena.allocF32(N * C);
  let inside = room.inside(between);
  for (let layer = 0; layer < layers; layer++) {
    if (keeps === "all" && layer > 0) between = room.between();
    if ((keeps === "all" || keeps === "products") && layer > 0) {
      inside = room.inside(between);
    }
    const output = keeps === "nothing" ? input : arena.allocF32(N * C);
    blocks.push({ ...inside, input, output });
    input = output;
  }
  return { blocks, final: room.final(), hidden: arena.allocF32(N * C) };
}
