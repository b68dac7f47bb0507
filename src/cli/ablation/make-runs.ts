/** Trains the missing runs on parallel lanes, and stores the outcome of each. */
import { cpus } from "node:os";
import { join } from "node:path";
import { isRefusedOption, UsageError } from "../file-arguments.ts";
import { curveOf, keepOutcome, keptOutcome } from "./outcome.ts";
import type { Trial } from "./setting.ts";
import { Lane } from "./lane.ts";
import type { Overview } from "./overview.ts";

export type LanePlace = {
  /** State folders of the lanes. */
  lanes: string;
  /** Folder of the outcomes. */
  outcomes: string;
};

/** Returns how many are still missing because their lane failed. */
export async function makeRuns(
  trials: readonly Trial[],
  text: Uint8Array<ArrayBuffer>,
  jobs: number,
  fingerprint: string,
  { lanes, outcomes }: LanePlace,
  overview: Overview,
): Promise<number> {
  const missing = trials.filter(({ key }) => !keptOutcome(outcomes, key));
  overview.begin(trials.length, missing);
  const queue = [...missing];
  let made = 0;
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    jobs,
    fingerprint,
  };
  const work = async (index: number): Promise<void> => {
    const folder = join(lanes, `${index}`);
    const lane = await Lane.start(folder, (line) => overview.line(line));
    try {
      for (let trial = queue.shift(); trial; trial = queue.shift()) {
        const { key, request, textBytes } = trial;
        const part = textBytes === 0 ? text : text.slice(0, textBytes);
        const began = Date.now();
        const own = trial;
        const { metrics, valLoss } = await lane.run(own, part, (step) =>
          overview.step(own, step),
        );
        const seconds = (Date.now() - began) / 1000;
        const curve = curveOf(metrics);
        const outcome = { key, request, valLoss, seconds, machine, curve };
        keepOutcome(outcomes, outcome);
        made++;
        overview.finished(own, outcome);
      }
    } finally {
      await lane.close();
    }
  };
  const count = Math.min(jobs, missing.length);
  const ends = await Promise.allSettled(
    Array.from({ length: count }, (_, index) => work(index)),
  );
  for (const end of ends) {
    if (end.status === "rejected") overview.line(`a lane ended: ${end.reason}`);
  }
  overview.end();
  const reasons = ends.map((end) =>
    end.status === "rejected" ? (end.reason as unknown) : undefined,
  );
  const refused = reasons.find((reason) => isRefusedOption(reason));
  if (refused) throw new UsageError(refused.message);
  return missing.length - made;
}
