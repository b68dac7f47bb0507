/**
 * How a figure comes about.
 *
 * All benchmarks of a group take turns: in each round every one of them takes one sample, in the same
 * order. So a machine that slows down slows neighbours alike, and a ratio is the median over rounds of
 * (its sample ÷ the baseline's sample of that round). A value is the median of its samples.
 */
import type { Benchmark, Group, Timed } from "./benchmark.ts";
import type { Result, Runtime } from "./result.ts";
import { summarize } from "./summarize.ts";

/** Long against the noise of a request to workerd, some 0.2 ms. */
const SAMPLE_SECONDS = 0.05;
/** V8 begins with code by Liftoff, which is three times as slow as what TurboFan makes meanwhile. */
const WARM_UP_SECONDS = 0.4;

/** A group whose clocks run here. */
export type TimedGroup = Group<Timed> & {
  /** Where rounds cost much. */
  mostRounds?: number;
  /** A figure that its rounds leave behind, besides their times. */
  beside?: () => Result;
};

export async function measure(
  { benchmarks }: TimedGroup,
  runtime: Runtime,
  rounds: number,
  onRound: (round: number) => void,
): Promise<Result[]> {
  const counts = new Map<Timed, number>();
  for (const benchmark of benchmarks) {
    counts.set(benchmark, await warmUp(benchmark));
  }
  const samples = new Map(benchmarks.map(({ name }) => [name, [] as number[]]));
  for (let round = 0; round < rounds; round++) {
    onRound(round);
    for (const [benchmark, iterations] of counts) {
      const seconds = await benchmark.time(iterations);
      samples.get(benchmark.name)!.push(sample(benchmark, seconds, iterations));
    }
  }
  return summarize(benchmarks, samples, runtime);
}

function sample(
  { unit, work }: Benchmark,
  seconds: number,
  iterations: number,
): number {
  if (unit === "ms") return (1000 * seconds) / iterations;
  return (work * iterations) / seconds / (unit === "tokens/s" ? 1 : 1e9);
}

/** Runs until the code is the final one; returns how many iterations fill a sample. */
async function warmUp(benchmark: Timed): Promise<number> {
  const end = performance.now() + WARM_UP_SECONDS * 1000;
  let iterations = 1;
  for (;;) {
    const seconds = Math.max(await benchmark.time(iterations), 1e-4);
    const wanted = Math.ceil((SAMPLE_SECONDS / seconds) * iterations);
    if (performance.now() >= end && seconds > SAMPLE_SECONDS / 2) return wanted;
    iterations = Math.min(wanted, iterations * 10);
  }
}
