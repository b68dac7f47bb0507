/** What can be told of the optimizer, and what follows of it; the rest is its name's. */
import type { ArgsDef, ParsedArgs } from "citty";
import {
  OPTIMIZER_NAMES,
  type OptimizerConfig,
  SCHEDULES,
} from "../../api/optimizer.ts";
import { oneOf, valued } from "../argument.ts";
import { finite, positive, wholeNumber } from "../numbers.ts";

export const rateArguments = {
  "learning-rate": valued("X", "Peak of AdamW (default: the optimizer's)"),
  "matrix-learning-rate": valued("X", "Peak of what updates matrices"),
} as const satisfies ArgsDef;

export const optimizerArguments = {
  optimizer: oneOf(OPTIMIZER_NAMES, "What updates the parameters", "muon"),
  ...rateArguments,
  schedule: oneOf(SCHEDULES, "How rates fall (default: the optimizer's)"),
  warmup: valued("N", "Steps to the peak"),
  cooldown: valued("N", "Last steps, in which a constant rate falls"),
  momentum: valued("X", "Of Muon"),
  "weight-decay": valued("X", "Of matrices and tables"),
} as const satisfies ArgsDef;

type RateArgs = Partial<ParsedArgs<typeof rateArguments>>;
type OptimizerArgs = Partial<ParsedArgs<typeof optimizerArguments>>;

export function ratesOf(args: RateArgs): Partial<OptimizerConfig> {
  return {
    learningRate: told(args, "learning-rate", positive),
    matrixLearningRate: told(args, "matrix-learning-rate", positive),
  };
}

export function optimizerOf(args: OptimizerArgs): Partial<OptimizerConfig> {
  const steps = (name: string, text: string) => wholeNumber(name, text, 0);
  const fromZero = (name: string, text: string) => finite(name, text, 0);
  return {
    name: args.optimizer,
    schedule: args.schedule,
    ...ratesOf(args),
    warmupSteps: told(args, "warmup", steps),
    cooldownSteps: told(args, "cooldown", steps),
    momentum: told(args, "momentum", fromZero),
    weightDecay: told(args, "weight-decay", fromZero),
  };
}

function told(
  args: OptimizerArgs,
  name: keyof typeof optimizerArguments,
  read: (name: string, text: string) => number,
): number | undefined {
  const text = args[name] as string | undefined;
  return text === undefined ? undefined : read(name, text);
}
