/** What any model's shape must satisfy: to exist at all, and to be trained in any recipe. */
import { AppError } from "../api/errors.ts";

/** RHT segments (64) and MXFP4 blocks (32) run along features and tokens, so training wants both whole. */
const TRAINING_MULTIPLE = 64;

/** Every size of these names a whole number from 1. */
export function checkSizes<Name extends string>(
  shape: Readonly<Record<Name, unknown>>,
  names: readonly Name[],
): void {
  for (const name of names) {
    const value = shape[name];
    if (!Number.isSafeInteger(value) || (value as number) < 1)
      throw invalidConfig(
        `\`${name}\` to be a whole number from 1`,
        String(value),
      );
  }
}

/**
 * What training adds: features, by their names, and the tokens of a microbatch are multiples of 64, or of the segments
 * that the recipe rotates.
 */
export function checkTrainingSizes(
  features: Readonly<Record<string, number>>,
  { context }: { context: number },
  sequences: number,
  segmentLength = 0,
): void {
  const multiple = Math.max(TRAINING_MULTIPLE, segmentLength);
  if (!Number.isSafeInteger(sequences) || sequences < 1)
    throw invalidConfig(
      "`sequences` to be a whole number from 1",
      String(sequences),
    );
  for (const [name, value] of Object.entries(features)) {
    if (value % multiple !== 0)
      throw invalidConfig(
        `${name} to be a multiple of ${multiple}`,
        String(value),
      );
  }
  const tokens = sequences * context;
  if (tokens % multiple !== 0)
    throw invalidConfig(
      `the tokens of a microbatch to be a multiple of ${multiple}`,
      `${sequences} sequences of ${context} = ${tokens}`,
    );
}

export function invalidConfig(expected: string, got: string): AppError {
  return new AppError("invalid_config", `Expected ${expected}, got ${got}`);
}
