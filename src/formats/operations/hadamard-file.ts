/** Applies the blockwise random Hadamard transform, or its inverse, to a file's float tensors, in f32. */
import { AppError } from "../../api/errors.ts";
import type { SegmentLength } from "../../api/scheme.ts";
import { rotate, rotateBack } from "../blocks/block-pieces.ts";
import { rowsOf } from "../blocks/block-rows.ts";
import { floatView } from "../blocks/float8-file.ts";
import { watched } from "../blocks/nonfinite.ts";
import { type TensorFile, withoutGguf } from "../containers/container.ts";
import { refloated } from "../blocks/float-sections.ts";
import type { Conversion } from "../stream/conversion.ts";
import { HoldPool } from "../stream/hold-pool.ts";
import { isNamed, type Selection } from "./name-patterns.ts";
import { keptRecord, type ValueWatch } from "./nonfinite-values.ts";
import { checkSources, chooseAll } from "./selection-rules.ts";

export type HadamardChoices = {
  direction: "forward" | "inverse";
  segmentLength: SegmentLength;
  seed: number;
  selection: Selection;
};

/**
 * Selected float tensors are rotated, and output as f32; the rest is copied. Errors: `shape_mismatch`,
 * `unsupported_dtype`, `name_collision`; `unsupported_media_type` for GGUF, whose readers would not undo the rotation
 */
export function planHadamard(
  file: TensorFile,
  { direction, segmentLength, seed, selection }: HadamardChoices,
  { watch, record }: ValueWatch = {},
): Conversion {
  withoutGguf(
    file,
    "to rotate",
    ", whose readers would not rotate back; rotate the checkpoint that it is made of",
  );
  const turn = direction === "forward" ? rotate : rotateBack;
  const scheme = { prescale: 1, hadamard: segmentLength, seed } as const;
  checkSources(file, selection);
  const view = floatView(file, (name) => isNamed(name, selection));
  const all = chooseAll(view.file, selection, "rotate");
  const parts = view.file.tensors.map((_, i) => {
    const chosen = all[i];
    if (chosen === undefined) return undefined;
    const { name, dtype, shape, start, end } = chosen.tensor;
    const rows = rowsOf(shape, segmentLength);
    if (rows.k % segmentLength !== 0) {
      throw new AppError(
        "shape_mismatch",
        `Expected the last dimension of tensor "${name}" to be a multiple of ${segmentLength}, got ${rows.k} of [${shape.join(", ")}]`,
      );
    }
    // Whole segments need no padding to blocks, even with a segment length of 16.
    const whole = { ...rows, padded: rows.k };
    const open = () =>
      watched(chosen.tensor, { reads: dtype, writes: "F32" }, watch, (lost) =>
        refloated(whole, dtype, "F32", lost, (x, count) =>
          turn(x, count, scheme),
        ),
      );
    const heads = [{ name, dtype: "F32" as const, shape }];
    return { bytes: end - start, open, heads };
  });
  const pool = new HoldPool();
  return file.target.write(file, {
    ...view.weave(parts, pool),
    pool,
    keeps: () => true,
    adds: keptRecord(record),
  });
}
