/** Divides a step's sequences into microbatches: as typed, or so that each fits a trainer's memory. */
import { loadTrainingKernels } from "../../kernels/load-file.ts";
import { microbatchProblems } from "../../training/config-problems.ts";
import {
  fits,
  fittingChange,
  fittingSplit,
  type StepChange,
  type StepConfig,
} from "../../training/fitting.ts";
import { MAX_HOSTED_BYTES } from "../../training/memory.ts";
import { called } from "../called.ts";
import { count } from "../numbers.ts";
import { UsageError } from "../file-arguments.ts";
import { type TrainArgs, trainArgs } from "./arguments.ts";

const DEFAULT_MICROBATCHES = 4;

export function splitBatch(
  args: TrainArgs,
  batch: number,
  step: Omit<StepConfig, "microbatches" | "sequences">,
): { microbatches: number; sequences: number } {
  const asked = args.microbatches;
  const microbatches = count("microbatches", asked, defaultParts(batch));
  if (batch % microbatches !== 0) {
    throw new UsageError(
      `Expected --batch to be a multiple of --microbatches ${microbatches}, got ${batch}`,
    );
  }
  const split = { microbatches, sequences: batch / microbatches };
  loadTrainingKernels();
  const whole = { ...step, ...split };
  if (fits(whole)) return split;
  const fitting = asked === undefined ? fittingSplit(whole) : undefined;
  if (fitting) return { ...split, ...fitting };
  // What no trainer could compute is refused by the API, with the reason.
  if (microbatchProblems({ ...step, ...split }).length > 0) return split;
  const change = fittingChange(whole);
  throw new UsageError(
    `Expected microbatches that fit the ${MAX_HOSTED_BYTES} bytes of a trainer, got ${microbatches} of ${split.sequences} × ${step.model.context} tokens, which do not fit${change ? `; this fits: ${commandLine(args, change)}` : ""}`,
  );
}

/** Four, or the next larger divisor of `batch`. */
function defaultParts(batch: number): number {
  let parts = Math.min(DEFAULT_MICROBATCHES, batch);
  while (batch % parts !== 0) parts++;
  return parts;
}

/** The command with the changes of `change`. */
function commandLine(args: TrainArgs, change: StepChange): string {
  const { microbatches, recipe, gradientDtype, model } = change;
  const changes = { microbatches, recipe, ...model };
  const written = Object.entries(trainArgs).flatMap(([name, arg]) => {
    const changed =
      name === "gradient-dtype"
        ? gradientDtype
        : changes[name as keyof typeof changes];
    const value = changed ?? (args[name as keyof typeof args] as unknown);
    if (typeof value !== "string" && typeof value !== "number") return [];
    if ("default" in arg && arg.default === value) return [];
    const text = String(value);
    return [
      `--${name} ${/^[\w./-]+$/.test(text) ? text : JSON.stringify(text)}`,
    ];
  });
  return called("train", written.join(" "));
}
