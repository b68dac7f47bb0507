/**
 * Where the time of a training step goes, kernel by kernel, each beside the bound that docs/performance.md states.
 *
 * Every kernel's clock runs around its call. What no kernel accounts for is JavaScript: allocating, choosing, filling
 * with zeros. The first kernel of the loss divides forward from backward, to which the head's later tiles count.
 */
import type { Kernels } from "../src/kernels/runtime.ts";
import type { KernelBenchmark } from "./benchmark.ts";
import { workOf } from "./bounds.ts";
import type { Machine } from "./machine.ts";
import type { Profile, ProfilePart } from "./result.ts";

const WARM_UP_SECONDS = 1;
const LOSS = "softmaxCrossEntropyForwardF32";
const REST = "JavaScript";

type Sum = { calls: number; seconds: number; bound: number };

/** The median of so many steps, as a whole: medians of the parts would not add up. */
export function profileStep(
  loaded: Kernels,
  { name, setup }: KernelBenchmark,
  machine: Machine,
  rounds: number,
): Profile {
  const real = loaded.exports;
  return loaded.arena.scope(() => {
    const iterate = setup();
    const end = performance.now() + 1000 * WARM_UP_SECONDS;
    do iterate();
    while (performance.now() < end);
    const profiles = Array.from({ length: rounds }, () => {
      const sums = new Map<string, Sum>();
      loaded.exports = timed(real, sums, machine);
      try {
        const start = performance.now();
        iterate();
        return profileOf(name, (performance.now() - start) / 1000, sums);
      } finally {
        loaded.exports = real;
      }
    });
    profiles.sort((a, b) => a.milliseconds - b.milliseconds);
    return profiles[rounds >> 1]!;
  });
}

/** The kernels, each adding what it takes to `sums`. */
function timed(
  exports: Kernels["exports"],
  sums: Map<string, Sum>,
  machine: Machine,
): Kernels["exports"] {
  let phase = "forward";
  const wrap =
    (kernel: string, run: (...args: number[]) => unknown) =>
    (...args: number[]): unknown => {
      if (kernel === LOSS) phase = "backward";
      const start = performance.now();
      const result = run(...args);
      const seconds = (performance.now() - start) / 1000;
      const work = workOf(kernel, args, machine);
      const key = `${phase}\t${work?.part ?? kernel}`;
      const sum = sums.get(key) ?? { calls: 0, seconds: 0, bound: 0 };
      sum.calls++;
      sum.seconds += seconds;
      sum.bound += work
        ? work.units / work.perCycle / (1e9 * machine.clockGHz)
        : NaN;
      sums.set(key, sum);
      return result;
    };
  return Object.fromEntries(
    Object.entries(exports).map(([kernel, run]) => [
      kernel,
      typeof run === "function" ? wrap(kernel, run as never) : run,
    ]),
  ) as unknown as Kernels["exports"];
}

function profileOf(
  name: string,
  seconds: number,
  sums: ReadonlyMap<string, Sum>,
): Profile {
  const parts = [...sums].map(([key, sum]): ProfilePart => {
    const [phase, part] = key.split("\t") as [ProfilePart["phase"], string];
    const own = {
      phase,
      part,
      calls: sum.calls,
      milliseconds: 1000 * sum.seconds,
      share: sum.seconds / seconds,
    };
    return Number.isNaN(sum.bound)
      ? own
      : { ...own, ofBound: sum.bound / sum.seconds };
  });
  const inKernels = parts.reduce(
    (sum, { milliseconds }) => sum + milliseconds,
    0,
  );
  const rest = 1000 * seconds - inKernels;
  parts.push({
    phase: "",
    part: REST,
    calls: 0,
    milliseconds: rest,
    share: rest / (1000 * seconds),
  });
  parts.sort((a, b) => b.milliseconds - a.milliseconds);
  return { name, milliseconds: 1000 * seconds, parts };
}
