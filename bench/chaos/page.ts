/** docs/reliability.md: what `npm run chaos` found, between its marks. */
import { join } from "node:path";
import { ROOT } from "../../src/scripts/build/target.ts";
import { marksOf, updatePage } from "../markdown-page.ts";
import type { Recovery } from "./recovery.ts";
import { LIES } from "./schedule.ts";
import type { ScheduleResult } from "./schedules.ts";

const PAGE = join(ROOT, "docs/reliability.md");

export type Found = {
  results: readonly ScheduleResult[];
  seconds: number;
  first: number;
};

/** Puts `text` between the marks of a section of the page. */
export function writeSection(
  section: "schedules" | "recovery",
  text: string,
): Promise<void> {
  return updatePage(PAGE, [[marksOf(section), text]]);
}

export function summary({ results, seconds, first }: Found): string {
  const has = (is: (result: ScheduleResult) => boolean) =>
    results.filter(is).length;
  const share = (kind: "drop" | "lose" | "repeat" | "truncate") =>
    has(({ schedule }) => schedule.network[kind] > 0);
  const faults = (kind: "abort" | "storage") =>
    has(({ schedule }) =>
      schedule.objects.some((fault) => fault.kind === kind),
    );
  const trainers = (kind: "kill" | "stop") =>
    has(({ schedule }) =>
      schedule.trainerFaults.some((fault) => fault.kind === kind),
    );
  const rows: [string, number][] = [
    ["requests dropped", share("drop")],
    ["responses lost", share("lose")],
    ["requests repeated, later and out of order", share("repeat")],
    ["bodies broken off", share("truncate")],
    ["requests delayed", has(({ schedule }) => schedule.network.delayMs > 0)],
    ["an object of the run aborted, at any point", faults("abort")],
    ["storage of an object failed", faults("storage")],
    ["trainers killed", trainers("kill")],
    ["trainers paused", trainers("stop")],
    [
      "the edge's process killed (SIGKILL)",
      has(({ schedule }) => schedule.edgeKill !== null),
    ],
  ];
  const lied = results.map(({ befallen }) => befallen?.told.lies);
  for (const lie of LIES)
    rows.push([
      `a lying trainer: ${lie}`,
      lied.filter((lies) => lies?.has(lie)).length,
    ]);
  rows.push([
    "rewound by the owner",
    has(({ befallen }) => (befallen?.rewinds ?? 0) > 0),
  ]);
  const problems = has(({ problem }) => problem !== undefined);
  return [
    `${results.length} schedules, seeds from ${first}, in ${Math.round(seconds)} s: **${problems} ended in other bytes or did not end.**`,
    "",
    "| with | schedules |",
    "| --- | --: |",
    ...rows.map(([what, count]) => `| ${what} | ${count} |`),
  ].join("\n");
}

export function recovered({
  waits,
  alone,
  disturbed,
  useful,
  crowd,
  heard,
}: Recovery): string {
  return [
    "| after | next commit, median | at most |",
    "| --- | --: | --: |",
    ...waits.map(
      ({ kind, median, longest }) =>
        `| ${kind} | ${median.toFixed(2)} s | ${longest.toFixed(2)} s |`,
    ),
    "",
    `A waiting trainer gets its lease ${heard.median.toFixed(0)} ms (median; at most ${heard.longest.toFixed(0)}) after work becomes available.`,
    "",
    `Four trainers, one of them killed every 20 s: goodput ${useful.toFixed(3)} (microbatches needed ÷ microbatches computed), and ${(disturbed / alone).toFixed(2)} times the steps per second of the same run undisturbed (${disturbed.toFixed(1)} and ${alone.toFixed(1)}).`,
    "",
    `${crowd.names} trainers that each took a lease and vanished, within ${crowd.seconds.toFixed(0)} s, 50 at a time and on the same machine: ${(crowd.rate / alone).toFixed(2)} times the steps per second of the undisturbed run; each cost ${(1000 * crowd.cpu).toFixed(1)} ms of the edge's CPU.`,
  ].join("\n");
}
