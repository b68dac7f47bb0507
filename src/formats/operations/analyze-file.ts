/**
 * Analyzes the effect of schemes on a file's tensors, in one pass. The output is a report as JSON, written after the
 * last of the data.
 */
import type { PassedOver } from "../../api/tensors.ts";
import { checkScheme } from "../blocks/block-formats.ts";
import { sortedPositions } from "../blocks/block-pieces.ts";
import { checkSize, rowsOf } from "../blocks/block-rows.ts";
import { formatsOf } from "../blocks/foreign-formats.ts";
import { floatView } from "../blocks/float8-file.ts";
import { converted } from "../blocks/quantized-sections.ts";
import { convertedTurned } from "../blocks/turned-sections.ts";
import type { TensorFile } from "../containers/container.ts";
import type { FloatDtype } from "../dtype.ts";
import type { OpenSection } from "../stream/conversion.ts";
import { HoldPool } from "../stream/hold-pool.ts";
import {
  dropped,
  droppedTensor,
  type Written,
} from "../stream/tensor-sections.ts";
import { hasElements, type TensorHead, type TensorRange } from "../tensor.ts";
import {
  type Advise,
  type Analyzing,
  checkFigures,
  NO_ADVICE,
  reporting,
} from "./analysis-report.ts";
import { Judge, type NamedScheme } from "./judge.ts";
import { isNamed } from "./name-patterns.ts";
import { checkPatternsMatch, nothingTo } from "./nothing-done.ts";
import {
  checkSources,
  type TensorChoice,
  decide,
  rolesOf,
  whyIdle,
} from "./selection-rules.ts";

/** For a selected tensor: whether it is analyzed, along which axis, and why. */
export type Judgement = { judged: boolean; isTurned: boolean; reason: string };

/** The judgement of each tensor; undefined for tensors not selected. */
export type Verdicts = (file: TensorFile) => readonly (Judgement | undefined)[];

/**
 * Analyzes the tensors that quantizing would change, with each scheme; for a GGUF also with schemes that its readers
 * would not undo. Errors: `shape_mismatch`, `invalid_option`; `nothing_to_convert` if it would change none
 */
export function planAnalysis(
  file: TensorFile,
  schemes: readonly NamedScheme[],
  choice: TensorChoice,
  verdicts: Verdicts = verdictsOf(choice),
  adviseOn: (judged: readonly TensorHead[]) => Advise = () => NO_ADVICE,
): Analyzing {
  for (const { scheme } of schemes) checkScheme(scheme);
  checkPatternsMatch(file.tensors, choice);
  checkSources(file, choice);
  const view = floatView(file, (name) => isNamed(name, choice));
  const found = verdicts(view.file);
  const chosen = view.file.tensors.flatMap((tensor, i) =>
    found[i]?.judged ? [{ tensor, isTurned: found[i].isTurned }] : [],
  );
  if (!chosen.some(({ tensor }) => hasElements(tensor))) {
    // In a plain file, the dtype tells the format.
    const formatOf = file.target.isPlain
      ? () => undefined
      : formatsOf(file.tensors);
    throw nothingTo(
      "analyze",
      view.file.tensors.map(view.stored),
      (head, i) =>
        formatOf(head) ??
        (found[i]?.judged ? whyIdle(head) : found[i]?.reason) ??
        "not asked for",
    );
  }
  const passedOver = view.file.tensors.flatMap((tensor, i): PassedOver[] => {
    if (found[i] === undefined || found[i].judged) return [];
    const { name, dtype, shape } = view.stored(tensor);
    return [{ name, dtype, shape, reason: found[i].reason }];
  });
  checkFigures(chosen.length, schemes.length);
  const positions = sortedPositions(file.tensors);
  const pool = new HoldPool();
  const holds = view.file.tensors.length;
  // Hold numbers after those of tensors and pairs.
  const judge = new Judge(schemes, chosen.length, pool, 3 * holds);
  const byTensor = new Map<TensorRange, Written>();
  for (const [index, { tensor, isTurned }] of chosen.entries()) {
    const { name, shape } = tensor;
    const dtype = tensor.dtype as FloatDtype;
    // One cut into pieces for all schemes: padding to the longest segment gives whole blocks and segments for each.
    const segments = schemes.map(({ scheme }) => scheme.hadamard);
    const rows = rowsOf(shape, Math.max(...segments));
    checkSize(name, rows);
    const writer = judge.writer(index, positions.get(name)!);
    byTensor.set(tensor, {
      ...droppedTensor(tensor),
      open: () =>
        isTurned
          ? convertedTurned(shape, dtype, writer, pool, 2 * holds + index)
          : converted(rows, dtype, writer),
    });
  }
  const { tensors, heldBytes } = view.weave(
    view.file.tensors.map((tensor) => byTensor.get(tensor)),
    pool,
    droppedTensor,
  );
  const heads = chosen.map(({ tensor }) => view.stored(tensor));
  return reporting(judge, heads, passedOver, adviseOn(heads), {
    sections: withGaps(file, tensors),
    inputBytes: file.dataBytes,
    pool,
    heldBytes,
  });
}

/** The decisions of quantizing without a loader. */
function verdictsOf(choice: TensorChoice): Verdicts {
  return (file) => {
    const byRole = { ...choice, roles: rolesOf(file) };
    return file.tensors.map((tensor): Judgement | undefined => {
      const decision = decide(file, tensor, byRole);
      if (decision === undefined) return undefined;
      const { becomes, reason } = decision;
      return {
        judged: becomes === "blocks",
        isTurned: false,
        reason: becomes === "q8_0" ? `${reason}, becomes Q8_0` : reason,
      };
    });
  };
}

/** All of a file's data, including unused bytes between tensors. */
function withGaps(
  { tensors, dataBytes }: TensorFile,
  written: readonly Written[],
): OpenSection[] {
  const sections: OpenSection[] = [];
  let taken = 0;
  for (const [i, { start, end }] of tensors.entries()) {
    const unused = start - taken;
    if (unused > 0) sections.push(() => dropped(unused));
    sections.push(written[i]!.open);
    taken = end;
  }
  sections.push(() => dropped(dataBytes - taken));
  return sections;
}
