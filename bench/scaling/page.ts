/** docs/scaling.md: what `npm run scaling` measured and foretells, between its marks. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ROOT } from "../../src/scripts/build/target.ts";
import type { Scaling } from "./fit.ts";
import { marksOf, updatePage } from "../markdown-page.ts";
import { describeLink } from "./measure.ts";
import { median } from "../median.ts";
import {
  type Constants,
  farStep,
  type Link,
  type ModelCosts,
} from "./model.ts";

const PAGE = join(ROOT, "docs/scaling.md");
/** By the marks between which they stand. */
export type Sections = Record<"constants" | "checked" | "far", string>;

/** An office's uplink, and a data centre's. */
const LINKS: readonly Link[] = [
  { bytesPerSecond: 12.5e6, roundTrip: 0.04 },
  { bytesPerSecond: 125e6, roundTrip: 0.002 },
];
const TRAINERS = [10, 100, 1000];
/** No step has more (training/run-request.ts). */
const MOST_MICROBATCHES = 256;
const FAR_SHARDS = 16;
/** Of an object that adds up a part of the tree. */
const FAN_IN = 16;
/** Shares of a step. */
const GAINS = [0.1, 0.25, 0.4];

export function rendered(scaling: Scaling): Sections {
  return {
    constants: constants(scaling),
    checked: checked(scaling),
    far: far(scaling),
  };
}

export function writePage(
  sections: Partial<Record<keyof Sections | "subtrees", string>>,
): Promise<void> {
  const parts = Object.entries(sections).map(
    ([section, text]) => [marksOf(section), text] as const,
  );
  return updatePage(PAGE, parts);
}

function constants({
  constants: { push, pull, ask, shares, commit, lag, difference },
  models,
}: Scaling): string {
  const perMegabyte = (byte: number) => (byte * 1e6 * 1000).toFixed(2);
  return [
    `A push takes ${ms(push.each)} ms per shard and ${perMegabyte(push.byte)} ms per megabyte; a pull ${ms(pull.each)} ms and ${perMegabyte(pull.byte)} ms; a completion, or the request for a step's first lease, ${ms(ask)} ms; a commit, besides its kernels, ${ms(commit.once)} ms and ${ms(commit.shard)} ms per shard. The edge's thread works for ${percent(shares.edge)} of a request's time, the trainer for ${percent(shares.trainer)}; the rest is waiting. The last of several trainers is behind by ${lag.toFixed(1)} of a microbatch's computing. Over the slow link, ${percent(difference)} of the bytes of whole frames were pulled.`,
    "",
    "| model | parameters | computing a microbatch | packing weights, once | reducing one | update | reading again | making and applying a difference | pulled | pushed per microbatch |",
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ...Object.entries(models).map(
      ([name, costs]) =>
        `| ${name} | ${millions(costs)} | ${ms(costs.compute)} ms | ${ms(costs.pack)} ms | ${ms(costs.reduce)} ms | ${ms(costs.update)} ms | ${ms(costs.again)} ms | ${ms(costs.difference)} ms | ${megabytes(costs.pulledBytes)} | ${megabytes(costs.pushedBytes)} |`,
    ),
  ].join("\n");
}

function checked({ points }: Scaling): string {
  const off = (point: (typeof points)[number]) =>
    point.predicted / point.step - 1;
  const { load, cores } = points[0]!;
  const errorsOf = (are: boolean): number[] =>
    points
      .filter(({ fitted }) => fitted === are)
      .map((point) => Math.abs(off(point)));
  const within = (errors: readonly number[]): string =>
    `${errors.filter((error) => error <= 0.15).length} of ${errors.length}`;
  const [errors, fitted] = [errorsOf(false), errorsOf(true)];
  return [
    `On ${availableParallelism()} cores, which are together ${cores.toFixed(2)} times as fast as one, with a load average of ${load.toFixed(1)} before; microbatches of 2 sequences. Of the runs that were not fitted, ${within(errors)} are within 15 %; the median error is ${percent(median(errors))}, the largest ${percent(Math.max(...errors))}. Of the fitted runs, ${within(fitted)}.`,
    "",
    "| model | trainers | shards | microbatches | link | fitted | measured | predicted | error |",
    "| --- | --: | --: | --: | --- | --- | --: | --: | --: |",
    ...points.map(
      (point) =>
        `| ${point.preset} | ${point.trainers} | ${point.shards} | ${point.microbatches} | ${point.link ? describeLink(point.link) : "none"} | ${point.fitted ? "yes" : "no"} | ${ms(point.step)} ms | ${ms(point.predicted)} ms | ${signed(off(point))} |`,
    ),
  ].join("\n");
}

function far({ constants: fitted, models }: Scaling): string {
  const rows = Object.entries(models).flatMap(([name, costs]) =>
    LINKS.flatMap((link) =>
      TRAINERS.map((trainers) => {
        const microbatches = Math.min(trainers, MOST_MICROBATCHES);
        const setting = { trainers, shards: FAR_SHARDS, microbatches, link };
        const step = farStep(costs, fitted, setting);
        const trees = farStep(costs, fitted, setting, FAN_IN);
        const useful = (microbatches * costs.compute) / trainers / step.seconds;
        const parts = [step.pull, step.compute, step.push, step.commit];
        return `| ${name} | ${describeLink(link)} | ${trainers} | ${[...parts, step.seconds, trees.seconds].map((part) => `${ms(part)} ms`).join(" | ")} | ${percent(useful)} |`;
      }),
    ),
  );
  return [
    `| model | link | trainers | pull | compute | push | commit | step | with sums of ${FAN_IN} | share of trainers' time computing |`,
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ...rows,
    "",
    `Number of trainers, each with one microbatch, from which sums of ${FAN_IN} shorten a step:`,
    "",
    `| model | link | ${GAINS.map((gain) => `by ${percent(gain)}`).join(" | ")} | at ${MOST_MICROBATCHES} |`,
    `| --- | --- | ${GAINS.map(() => "--:").join(" | ")} | --: |`,
    ...Object.entries(models).flatMap(([name, costs]) =>
      LINKS.map((link) => {
        const gains = sumGains(costs, fitted, link);
        const from = (least: number) => {
          // From there on, not in between.
          const last = gains.findLastIndex((gain) => gain < least);
          return last === gains.length - 1 ? "never" : `from ${last + 2}`;
        };
        return `| ${name} | ${describeLink(link)} | ${GAINS.map(from).join(" | ")} | ${percent(gains.at(-1)!)} |`;
      }),
    ),
  ].join("\n");
}

/** By what share sums of `FAN_IN` shorten a step of 1, 2, … trainers; below zero where they lengthen it. */
function sumGains(costs: ModelCosts, fitted: Constants, link: Link): number[] {
  return Array.from({ length: MOST_MICROBATCHES }, (_, index) => {
    const trainers = index + 1;
    const setting = {
      trainers,
      shards: FAR_SHARDS,
      microbatches: trainers,
      link,
    };
    const { seconds } = farStep(costs, fitted, setting);
    return 1 - farStep(costs, fitted, setting, FAN_IN).seconds / seconds;
  });
}

function ms(seconds: number): string {
  const value = 1000 * seconds;
  return value < 10 ? value.toFixed(1) : value.toFixed(0);
}

function millions({ parameters }: ModelCosts): string {
  return `${(parameters / 1e6).toFixed(1)} M`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function signed(share: number): string {
  return `${share < 0 ? "−" : "+"}${percent(Math.abs(share))}`;
}
