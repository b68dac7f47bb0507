/** Checks of completions. */
import { AppError } from "../../api/errors.ts";
import type { Completion, LeaseKind } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { hasEnded } from "../../api/run-status.ts";
import { countedTokens, evaluationMicrobatches } from "../../training/data.ts";
import type { Told } from "./ballot-store.ts";
import type { RunRecord } from "./run-store.ts";

/** The largest f32: bounds the cross-entropy per token. */
const MOST_NATS = 3.4028234663852886e38;

/** Checks that the step has such a microbatch. */
export function checkLeasedMicrobatch(
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

/** Checks that the counts are those of the microbatch's text, `textBytes` its bytes, and that the loss sum is possible. */
export function checkCounts(
  config: RunConfig,
  kind: LeaseKind,
  index: number,
  { lossSum, tokens, bytes }: Told,
  textBytes: number,
): void {
  const counted = countedTokens(config, kind, index);
  if (tokens !== counted) {
    throw new AppError(
      "invalid_number",
      `Expected the ${counted} tokens that ${kind} microbatch ${index} counts, got ${tokens}`,
    );
  }
  if (bytes !== textBytes) {
    throw new AppError(
      "invalid_number",
      `Expected \`bytes\` to be ${textBytes}, the text bytes of the ${counted} tokens that ${kind} microbatch ${index} counts, got ${bytes}`,
    );
  }
  if (lossSum !== null && !(lossSum >= 0 && lossSum <= tokens * MOST_NATS)) {
    throw new AppError(
      "invalid_number",
      `Expected \`lossSum\`, a sum of cross-entropies, to be from 0 to ${MOST_NATS} per token, got ${lossSum}`,
    );
  }
}

/** The result in a completion; tokens are bytes by default if they can be. Errors: `invalid_number` without `bytes` otherwise; `shape_mismatch` */
export function readTold(
  { dataset, shards }: RunConfig,
  kind: LeaseKind,
  { lossSum, tokens, bytes, digests = [], phases: spent }: Completion,
): Told {
  const phases = spent ?? null;
  const count = kind === "train" ? shards : 0;
  if (digests.length !== count) {
    throw new AppError(
      "shape_mismatch",
      `Expected ${count} \`digests\`, one for each frame that a ${kind} microbatch pushes, got ${digests.length}`,
    );
  }
  if (bytes === undefined && dataset.tokenizer !== "byte") {
    throw new AppError(
      "invalid_number",
      "Expected `bytes`, the text bytes of the counted tokens, got none",
    );
  }
  return { lossSum, tokens, bytes: bytes ?? tokens, digests, phases };
}

/** The error for a completion that differs from the known result. */
export function differentCompletion(known: Told, told: Told): AppError {
  const text = ({ lossSum, tokens, bytes, digests }: Told) =>
    `${lossSum} over ${tokens} tokens of ${bytes} bytes${digests.length > 0 ? `, SHA-256 ${digests.join(" ")}` : ""}`;
  return new AppError(
    "different_completion",
    `Expected the values that this microbatch already has, loss sum ${text(known)}; got ${text(told)}`,
  );
}

export function isOpen({ state, step: current }: RunRecord, step: number) {
  return step === current && !hasEnded(state);
}

/** Checks that the run is at this step and has not ended. */
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
