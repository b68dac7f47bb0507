/** The report of an analysis: the figures as an object, and as the conversion's output. */
import { AppError } from "../../api/errors.ts";
import type { Analysis } from "../../api/tensors.ts";
import { Conversion, type OpenSection } from "../stream/conversion.ts";
import type { HoldPool } from "../stream/hold-pool.ts";
import type { TensorHead } from "../tensor.ts";
import { figures, RULE } from "./analysis-figures.ts";
import type { Judge } from "./judge.ts";

/** `report` is complete when the conversion has ended; its output is the same as JSON. */
export type Analyzing = { conversion: Conversion; report: () => Analysis };

/** Advice about loaders, based on the figures. */
export type Advise = (judge: Judge) => Pick<Analysis, "loaders" | "refused">;
export const NO_ADVICE: Advise = () => ({ loaders: [], refused: [] });

/** Limit per report, which is written at once. */
const MAX_FIGURES = 32_768;

/** Errors: `invalid_option` for too many figures */
export function checkFigures(tensors: number, schemes: number): void {
  if (tensors * schemes <= MAX_FIGURES) return;
  throw new AppError(
    "invalid_option",
    `Expected at most ${MAX_FIGURES} tensors times schemes, got ${tensors} times ${schemes}; \`include\` fewer`,
  );
}

/** `heads` are the analyzed tensors in the judge's order; `inputBytes` is the total input of the sections. */
export function reporting(
  judge: Judge,
  heads: readonly TensorHead[],
  passedOver: Analysis["passedOver"],
  advise: Advise,
  parts: {
    sections: readonly OpenSection[];
    inputBytes: number;
    pool: HoldPool;
    heldBytes: number;
  },
): Analyzing {
  const { sections, inputBytes, pool, heldBytes } = parts;
  const names = judge.schemes.map(({ name }) => name);
  // The sums are freed with the conversion; the report is kept.
  let told: Analysis | undefined;
  const report = (): Analysis =>
    (told ??= {
      tensors: heads.map(({ name, dtype, shape }, i) => ({
        name,
        dtype,
        shape: [...shape],
        ...figures(judge.tally(i), names),
      })),
      passedOver,
      total: figures(judge.sum(heads.keys()), names),
      rule: RULE,
      ...advise(judge),
    });
  const text = () =>
    Uint8Array.from(
      new TextEncoder().encode(`${JSON.stringify(report(), null, 2)}\n`),
    );
  const conversion = new Conversion({
    // Without input there are no pieces, so no tail is written.
    head: inputBytes === 0 ? text() : new Uint8Array(0),
    dataBytes: 0,
    sections,
    pool,
    heldBytes: heldBytes + judge.heldBytes,
    tail: text,
  });
  return { conversion, report };
}
