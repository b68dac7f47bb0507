import { type ArgsDef, defineCommand } from "citty";
import { INTERRUPTED, onEndSignal } from "../local/signals.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { checkArguments } from "./file-arguments.ts";
import { follow } from "./follow.ts";
import { LiveCurve } from "./live-curve.ts";
import { Progress } from "./progress.ts";

const args = { ...runArgument, ...edgeArguments } satisfies ArgsDef;

export const watchCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const run = runOf(given);
    const { config, name } = await run.status();
    if (given.json) {
      await follow(run, [
        { event: (event) => console.log(JSON.stringify(event)) },
      ]);
      return;
    }
    const curve = new LiveCurve();
    const progress = new Progress(process.stdout, config.steps, () =>
      curve.lines(),
    );
    const end = (state: string): void => {
      progress.keepAbove();
      progress.line(
        `run ${run.run}${name === null ? "" : `, "${name}",`} ${state}`,
      );
    };
    onEndSignal(() => {
      end("goes on");
      process.exit(INTERRUPTED);
    });
    end(`is ${await follow(run, [curve, progress])}`);
  },
});
