/** Options of the optimizer; others have the defaults of its name. */
import type { ArgsDef, ParsedArgs } from "citty";
import {
  OPTIMIZER_NAMES,
  type OptimizerConfig,
  SCHEDULES,
} from "../../api/optimizer.ts";
import { oneOf, valued } from "../argument.ts";
import { finite, positive, wholeNumber } from "../numbers.ts";

export const rateArguments = {
  "learning-rate": valued(
    "X",
    "Peak learning rate of AdamW (default: the optimizer's)",
  ),
  "matrix-learning-rate": valued(
    "X",
    "Peak learning rate of the matrices' optimizer",
  ),
} as const satisfies ArgsDef;

export const optimizerArguments = {
  optimizer: oneOf(OPTIMIZER_NAMES, "Optimizer", "muon"),
  ...rateArguments,
  schedule: oneOf(
    SCHEDULES,
    "Learning rate schedule (default: the optimizer's)",
  ),
  warmup: valued("N", "Warm-up steps"),
  cooldown: valued(
    "N",
    "Steps at the end in which a constant rate decays to 0",
  ),
  momentum: valued("X", "Momentum of Muon"),
  "weight-decay": valued("X", "Weight decay of matrices and embeddings"),
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
