/** Which completions a run refuses. */
import { AppError } from "../../api/errors.ts";
import {
  type Completion,
  hasEnded,
  type LeaseKind,
  type RunConfig,
} from "../../api/types.ts";
import { countedTokens, evaluationMicrobatches } from "../../training/data.ts";
import type { LossSum } from "../../training/step-end.ts";
import type { RunRecord } from "./run-store.ts";

/** The run has such a microbatch. */
export function checkMicrobatch(
  config: RunConfig,
  kind: LeaseKind,
  step: number,
  index: number,
): void {
  const training = step < config.steps ? config.microbatches : 0;
  const count =
    kind === "train" ? training : evaluationMicrobatches(config, step);
  if (index < count) return;
  throw new AppError(
    "invalid_number",
    `Expected one of the ${count} ${kind} microbatches of step ${step}, got ${index}`,
  );
}

/** What is told of a microbatch is possible: the tokens that it counts, and a cross-entropy. */
export function checkCounts(
  config: RunConfig,
  kind: LeaseKind,
  index: number,
  { lossSum, tokens }: Completion,
): void {
  const counted = countedTokens(config, kind, index);
  if (tokens !== counted) {
    throw new AppError(
      "invalid_number",
      `Expected the ${counted} tokens that ${kind} microbatch ${index} counts, got ${tokens}`,
    );
  }
  if (lossSum !== null && lossSum < 0) {
    throw new AppError(
      "invalid_number",
      `Expected a sum of cross-entropies, 0 or more, got ${lossSum}`,
    );
  }
}

/** What a completion says. Errors: `invalid_number`, of bytes that its tokens cannot have */
export function readLossSum(
  { dataset }: RunConfig,
  { lossSum, tokens, bytes }: Completion,
): LossSum {
  if (dataset.tokenizer !== "byte") {
    if (bytes !== undefined && bytes >= tokens)
      return { lossSum, tokens, bytes };
    throw new AppError(
      "invalid_number",
      `Expected \`bytes\` of ${tokens} tokens, each of one at least, got ${bytes ?? "none"}`,
    );
  }
  if (bytes === undefined || bytes === tokens)
    return { lossSum, tokens, bytes: tokens };
  throw new AppError(
    "invalid_number",
    `Expected \`bytes\` to be ${tokens}, since tokens are bytes, got ${bytes}`,
  );
}

/** A completion that is repeated must say what it said. */
export function checkSame(known: LossSum, said: LossSum): void {
  const isSame =
    known.lossSum === said.lossSum &&
    known.tokens === said.tokens &&
    known.bytes === said.bytes;
  if (isSame) return;
  const told = ({ lossSum, tokens, bytes }: LossSum) =>
    `${lossSum} over ${tokens} tokens of ${bytes} bytes`;
  throw new AppError(
    "different_completion",
    `Expected the values that this microbatch already has, loss sum ${told(known)}; got ${told(said)}`,
  );
}

/** The run is at this step, and takes completions. */
export function checkOpen(
  { state, step: current }: RunRecord,
  step: number,
): void {
  if (hasEnded(state)) {
    throw new AppError(
      "run_ended",
      `Expected a run that has not ended, got one that is ${state}`,
    );
  }
  if (step > current) {
    throw new AppError(
      "future_step",
      `Expected step ${current}, where the run is; got ${step}, which it has not reached`,
    );
  }
  if (step < current) {
    throw new AppError(
      "step_gone",
      `Expected step ${current}, where the run is; got ${step}, which is past`,
    );
  }
}
