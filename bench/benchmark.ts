export type Unit = "GMAC/s" | "GB/s" | "tokens/s" | "ms" | "MiB";

/** What a benchmark is, wherever it runs. */
export type Benchmark = {
  name: string;
  unit: Unit;
  /** MACs, bytes or tokens of one iteration; in ms, an iteration is what is timed. */
  work: number;
  /**
   * What its ratios are taken to. The first that runs in the same group is the result's `baseline`;
   * the others are its `ratios`.
   */
  baselines: readonly string[];
};

/** One of the project's own. */
export type KernelBenchmark = Benchmark & {
  /** Puts operands into memory of the caller's scope. What it returns is one iteration. */
  setup: () => () => void;
};

/** One of what it is compared to. */
export type PeerBenchmark = Benchmark & {
  /** Nothing where this machine does not have it. */
  prepare: () => Promise<Clock | undefined>;
};

/** Seconds of so many iterations, without what prepares them. */
export type Clock = (iterations: number) => Promise<number>;

export type Timed = Benchmark & { time: Clock };

/** Benchmarks that are interleaved, so that each may be another's baseline. */
export type Group<T extends Benchmark = Benchmark> = {
  name: string;
  benchmarks: readonly T[];
};
