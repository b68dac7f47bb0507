/** Values that llama.cpp stores differently from transformers. */
import type { Pointer } from "../../kernels/arena.ts";
import { exp } from "../../kernels/elementwise.ts";
import { kernels } from "../../kernels/runtime.ts";
import type { PieceWriter } from "../../formats/blocks/quantized-sections.ts";
import type { Change } from "./names.ts";

/** Applies `change` before writing. */
export function changed(writer: PieceWriter, change: Change): PieceWriter {
  return {
    ...writer,
    write(x, piece, lost) {
      apply(change, x, piece.count);
      return writer.write(x, piece, lost);
    },
  };
}

/** In place, f32 [count] at `x`. */
function apply(change: Change, x: Pointer, count: number): void {
  const values = kernels().arena.f32(x, count);
  if (change === "plus-one") {
    for (let i = 0; i < count; i++) values[i] = values[i]! + 1;
    return;
  }
  if (change === "minus-exp") exp(x, x, count);
  const factor = change === "minus-exp" ? -1 : change.times;
  for (let i = 0; i < count; i++) values[i] = values[i]! * factor;
}
