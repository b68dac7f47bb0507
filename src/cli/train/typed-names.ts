/** What the API calls the values of a run, as they are typed after `train`. */
import { isRefusedOption, UsageError } from "../file-arguments.ts";
import { trainArgs } from "./arguments.ts";

/** Those that are typed by another name. */
const OTHERS: Readonly<Record<string, string>> = {
  warmupSteps: "warmup",
  cooldownSteps: "cooldown",
};

/**
 * `asked`, whose refusals of a run's config name the options: `optimizer.learningRate` as --learning-rate.
 * Errors: `UsageError` for what was typed; those of `asked`
 */
export async function refusedByOption<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    const isTyped = error instanceof UsageError || isRefusedOption(error);
    if (!isTyped) throw error;
    const { message } = error as Error;
    const typed = message.replace(
      /`(?:\w+\.)*(\w+)`/g,
      (whole, name: string) => optionOf(name) ?? whole,
    );
    if (typed === message) throw error;
    throw new UsageError(typed, { cause: error });
  }
}

function optionOf(name: string): string | undefined {
  const option =
    OTHERS[name] ??
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return option in trainArgs ? `--${option}` : undefined;
}
