import { type ArgsDef, defineCommand } from "citty";
import type { RunEvent } from "../api/run-metrics.ts";
import { onEndSignal } from "../local/signals.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { checkArguments } from "./file-arguments.ts";
import { follow, type Listener } from "./follow.ts";
import { lossCurve } from "./loss-curve.ts";
import { Progress } from "./progress.ts";

/** As a shell reports an end by Ctrl-C. */
const LEFT = 130;

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
    const progress = new Progress(process.stdout, config.steps, () =>
      losses.curve(),
    );
    const end = (state: string): void => {
      for (const line of losses.curve()) progress.line(line);
      progress.line(`run ${run.run} ${state}`);
    };
    onEndSignal(() => {
      end("goes on");
      process.exit(LEFT);
    });
    end(`is ${await follow(run, [losses, progress])}`);
  },
});

/** Of each step that is told, its training loss. */
class Losses implements Listener {
  readonly #points: { step: number; loss: number }[] = [];

  /** Its lines; none before there are two. */
  curve(): string[] {
    if (this.#points.length < 2) return [];
    return lossCurve(this.#points).split("\n");
  }

  event(event: RunEvent): void {
    if (event.type === "rewind") {
      const later = this.#points.findIndex(({ step }) => step >= event.step);
      if (later >= 0) this.#points.length = later;
    }
    if (event.type !== "step" || event.metrics.trainLoss === null) return;
    const { step, trainLoss } = event.metrics;
    this.#points.push({ step, loss: trainLoss });
  }
}
