/** PyTorch's step in a process of its own, which answers on a pipe. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Clock } from "../benchmark.ts";
import type { StepModel } from "../step.ts";

const PROGRAM = join(import.meta.dirname, "pytorch_step.py");
/** What is first on the path may not be the system's, for which a distribution packs PyTorch. */
const PYTHONS = ["python3", "/usr/bin/python3"];

/** OpenBLAS tells the processor and its caches by itself, unless somebody else has. */
const {
  OPENBLAS_CORETYPE: _,
  OPENBLAS_L2_SIZE: __,
  ...inherited
} = process.env;
const ENVIRONMENT = { ...inherited, OMP_NUM_THREADS: "1" };

/** Nothing where no Python can import torch. */
export async function prepareStep(
  model: StepModel,
): Promise<Clock | undefined> {
  for (const python of PYTHONS) {
    const clock = await start(python, model);
    if (clock) return clock;
  }
  return undefined;
}

/** Its input ends with this process, and it with its input. */
async function start(
  python: string,
  { shape, sequences }: StepModel,
): Promise<Clock | undefined> {
  const { layers, width, heads, context, vocabulary } = shape;
  const sizes = [layers, width, heads, context, vocabulary, sequences];
  const child = spawn(python, [PROGRAM, ...sizes.map(String)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: ENVIRONMENT,
  });
  const answers = createInterface({ input: child.stdout });
  const ended = new Promise<undefined>((resolve) => {
    child
      .on("error", () => resolve(undefined))
      .on("exit", () => resolve(undefined));
  });
  const answer = async (): Promise<string | undefined> => {
    const line = once(answers, "line") as Promise<[string]>;
    return (await Promise.race([line, ended]))?.[0];
  };
  if ((await answer()) === undefined) return undefined;
  return async (iterations) => {
    const seconds = answer();
    child.stdin.write(`${iterations}\n`);
    const line = await seconds;
    if (line === undefined) throw new Error("PyTorch ended while it was timed");
    return Number(line);
  };
}
