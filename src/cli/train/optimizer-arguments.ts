/** What can be told of the optimizer, and what follows of it; the rest is its name's. */
import type { ArgsDef, ParsedArgs } from "citty";
import {
  OPTIMIZER_NAMES,
  type OptimizerConfig,
  type OptimizerName,
  type Schedule,
  SCHEDULES,
} from "../../api/optimizer.ts";
import { finite, positive, wholeNumber } from "../numbers.ts";

export const rateArguments = {
  "learning-rate": {
    type: "string",
    valueHint: "X",
    description: "Peak of AdamW (default: the optimizer's)",
  },
  "matrix-learning-rate": {
    type: "string",
    valueHint: "X",
    description: "Peak of what updates matrices",
  },
} as const satisfies ArgsDef;

export const optimizerArguments = {
  optimizer: {
    type: "enum",
    options: [...OPTIMIZER_NAMES],
    default: "muon",
    description: "What updates the parameters",
  },
  ...rateArguments,
  schedule: {
    type: "enum",
    options: [...SCHEDULES],
    description: "How rates fall (default: the optimizer's)",
  },
  warmup: {
    type: "string",
    valueHint: "N",
    description: "Steps to the peak",
  },
  cooldown: {
    type: "string",
    valueHint: "N",
    description: "Last steps, in which a constant rate falls",
  },
  momentum: { type: "string", valueHint: "X", description: "Of Muon" },
  "weight-decay": {
    type: "string",
    valueHint: "X",
    description: "Of matrices and tables",
  },
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
    name: args.optimizer as OptimizerName,
    schedule: args.schedule as Schedule | undefined,
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
