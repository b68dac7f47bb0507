import { type ArgsDef, defineCommand } from "citty";
import { hasEnded } from "../api/run-status.ts";
import { INTERRUPTED, onEndSignal } from "../local/signals.ts";
import { called } from "./called.ts";
import {
  addressOf,
  edgeArguments,
  runArgument,
  runOf,
} from "./edge-arguments.ts";
import { checkArguments } from "./file-arguments.ts";
import { follow } from "./follow.ts";
import { LiveCurve } from "./live-curve.ts";
import { Progress } from "./progress.ts";
import { shellWord } from "./shell-word.ts";

const args = { ...runArgument, ...edgeArguments } satisfies ArgsDef;

export const watchCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const run = runOf(given);
    const { config, name, state, trainers } = await run.status();
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
    const { baseUrl } = addressOf(given);
    if (state === "paused")
      console.error(
        `the run is paused: \`${called("resume", `${run.run} --url ${shellWord(baseUrl)}`)}\` resumes it`,
      );
    else if (!hasEnded(state) && trainers.length === 0)
      console.error(
        `the run waits for its first trainer: \`${called("join", `${shellWord(baseUrl)} --run ${run.run}`)}\` trains in it with this machine`,
      );
    end(`is ${await follow(run, [curve, progress])}`);
  },
});
