/** What `npm run bench -- --json FILE` writes. */
import type { Unit } from "./benchmark.ts";
import type { Machine } from "./machine.ts";

export const RUNTIMES = ["node", "workerd"] as const;
export type Runtime = (typeof RUNTIMES)[number];

export type Result = {
  name: string;
  runtime: Runtime;
  /** Median of `samples`. */
  value: number;
  unit: Unit;
  baseline?: string;
  /** Median over rounds of own sample ÷ the baseline's. */
  ratio?: number;
  /** The same to further benchmarks, by name. */
  ratios?: Record<string, number>;
  /** In the order taken: sample i of one benchmark and of another in its group were neighbours. */
  samples: number[];
};

/** Of one step, in node. */
export type Profile = {
  name: string;
  milliseconds: number;
  /** The longest first. */
  parts: ProfilePart[];
};

export type ProfilePart = {
  phase: "forward" | "backward" | "";
  /** The kernel, with the sizes of a product. */
  part: string;
  calls: number;
  milliseconds: number;
  /** Of the step. */
  share: number;
  /** Time at the bound ÷ time taken, where a bound is stated. */
  ofBound?: number;
};

export type Report = {
  machine: Machine;
  results: Result[];
  /** Of the steps that were measured, with `--profile`. */
  profiles?: Profile[];
};
