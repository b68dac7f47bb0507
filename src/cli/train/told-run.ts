/** Prints a run's description at its start, and its result at its end. */
import { relative } from "node:path";
import pc from "picocolors";
import { type RunState, type RunStatus } from "../../api/run-status.ts";
import type { RunClient } from "../../client/run-client.ts";
import { architectureOf } from "../../model/architectures.ts";
import { INTERRUPTED } from "../../local/signals.ts";
import { called } from "../called.ts";
import { lossText, Progress } from "../progress.ts";
import { shellWord } from "../shell-word.ts";
import { mobyDick } from "./moby-dick.ts";
import type { TrainOptions } from "./options.ts";

/** Describes the run. */
export function tellRun(
  progress: Progress,
  options: TrainOptions,
  status: RunStatus,
): void {
  const { config, parameters, shards } = status;
  const {
    model,
    dataset,
    microbatches,
    sequences,
    steps,
    recipe,
    gradientDtype,
  } = config;
  progress.line(
    `${architectureOf(model).name} of ${parameters} parameters: ${model.layers} layers, width ${model.width}, ${model.heads} heads, context ${model.context}`,
  );
  const { name, tokens, tokenizer, vocabulary } = dataset;
  const kind =
    tokenizer === "byte"
      ? "byte tokens"
      : `${tokenizer} tokens of ${vocabulary} ids`;
  progress.line(
    `${name}: ${tokens} ${kind}; ${steps} steps of ${microbatches} × ${sequences * model.context} tokens`,
  );
  progress.line(
    `recipe ${pc.bold(recipe)}, gradients in ${gradientDtype}; ${trainersOf(options)}, ${shards.length} shards`,
  );
}

function trainersOf({
  trainers,
  threads,
  remote,
  request,
}: TrainOptions): string {
  const { verify, redundancy = 1 } = request;
  const checked =
    redundancy > 1
      ? `, each microbatch by ${redundancy}`
      : verify
        ? `, ${+(100 * verify).toFixed(2)} % of microbatches by two`
        : "";
  const counted = (count: number) =>
    `${count} ${count === 1 ? "trainer" : "trainers"}`;
  if (remote)
    return `${counted(trainers)} of the edge, ${threads} of this machine${checked}`;
  return counted(trainers + threads) + checked;
}

/** The command that continues from a full checkpoint: with the same text and edge. */
function resumption(
  checkpoint: string,
  { textFile, remote }: Pick<TrainOptions, "textFile" | "remote">,
): string {
  const named = (file: string): string =>
    shellWord(relative(process.cwd(), file));
  return called(
    "train",
    [
      ...(textFile === mobyDick() ? [] : [`--text ${named(textFile)}`]),
      `--from ${named(checkpoint)} --resume`,
      ...(remote ? [`--url ${shellWord(remote.address.baseUrl)}`] : []),
    ].join(" "),
  );
}

/** Prints how the run ended. Returns the exit code. */
export async function tellOutcome(
  run: RunClient,
  state: RunState,
  seconds: number,
  checkpoint: string,
  options: Pick<TrainOptions, "textFile" | "remote">,
  progress: Progress,
): Promise<number> {
  const { step, valLoss, valNatsPerByte, config } = await run.status();
  const shown = relative(process.cwd(), checkpoint);
  if (state !== "finished") {
    progress.line(
      pc.red(`${state} at step ${step}; its parameters are in ${shown}`),
    );
    if (state === "cancelled")
      progress.line(
        `\`${resumption(checkpoint, options)}\` continues from there`,
      );
    if (state === "diverged")
      progress.line(
        "a gradient was not finite: a lower --learning-rate or --matrix-learning-rate, or a recipe that rounds less",
      );
    return state === "cancelled" ? INTERRUPTED : 1;
  }
  const tokens =
    step * config.microbatches * config.sequences * config.model.context;
  // With byte tokens, loss per token and per byte are equal.
  const perByte =
    config.dataset.tokenizer === "byte"
      ? ""
      : ` val_nats_per_byte=${lossText(valNatsPerByte)}`;
  progress.line(
    `done val_loss=${lossText(valLoss)}${perByte} steps=${step} tokens=${tokens} seconds=${seconds.toFixed(1)} checkpoint=${shown}`,
  );
  return 0;
}
