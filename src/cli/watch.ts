import { type ArgsDef, defineCommand } from "citty";
import type { RunEvent } from "../api/run-metrics.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { checkArguments } from "./file-arguments.ts";
import { follow, type Listener } from "./follow.ts";
import { lossCurve } from "./loss-curve.ts";
import { Progress } from "./progress.ts";

const args = { ...runArgument, ...edgeArguments } satisfies ArgsDef;

export const watchCommand = defineCommand({
  meta: {
    name: "watch",
    description:
      "Show a run as it goes, from its first step that is kept to its end; Ctrl-C leaves it running",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const run = runOf(given);
    const { config } = await run.status();
    if (given.json) {
      await follow(run, [
        { event: (event) => console.log(JSON.stringify(event)) },
      ]);
      return;
    }
    const losses = new Losses();
    const state = await follow(run, [
      losses,
      new Progress(process.stdout, config.steps),
    ]);
    if (losses.points.length > 1) console.log(lossCurve(losses.points));
    console.log(`run ${run.run} is ${state}`);
  },
});

/** Of each step that is told, its training loss. */
class Losses implements Listener {
  readonly points: { step: number; loss: number }[] = [];

  event(event: RunEvent): void {
    if (event.type === "rewind") {
      const later = this.points.findIndex(({ step }) => step >= event.step);
      if (later >= 0) this.points.length = later;
    }
    if (event.type !== "step" || event.metrics.trainLoss === null) return;
    const { step, trainLoss } = event.metrics;
    this.points.push({ step, loss: trainLoss });
  }
}
