import { median } from "./median.ts";
import type { Benchmark } from "./benchmark.ts";
import type { Result, Runtime } from "./result.ts";

/** `samples` by name, as many for each, in units of the result; sample i of all was taken in round i. */
export function summarize(
  benchmarks: readonly Benchmark[],
  samples: ReadonlyMap<string, readonly number[]>,
  runtime: Runtime,
): Result[] {
  return benchmarks.map(({ name, unit, baselines }) => {
    const own = samples.get(name)!;
    const result: Result = {
      name,
      runtime,
      value: rounded(median(own)),
      unit,
      samples: own.map(rounded),
    };
    const ratioTo = (baseline: string) => {
      const theirs = samples.get(baseline)!;
      return rounded(median(own.map((rate, round) => rate / theirs[round])));
    };
    const [first, ...others] = baselines.filter((other) => samples.has(other));
    if (first === undefined) return result;
    result.baseline = first;
    result.ratio = ratioTo(first);
    if (others.length > 0) {
      result.ratios = Object.fromEntries(
        others.map((other) => [other, ratioTo(other)]),
      );
    }
    return result;
  });
}

/** Four digits: more than the machine is good for. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
