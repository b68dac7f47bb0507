/** `npm run sample`: text from a checkpoint that `npm run train` has written. */
import { valued } from "../cli/argument.ts";
import { localModel, openWriter, writePieces } from "../cli/local-text.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { namedModel } from "../cli/named-model.ts";
import { keptCheckpoint } from "../cli/train/kept-runs.ts";
import { UsageError } from "../cli/file-arguments.ts";
import { finite, wholeNumber } from "../cli/numbers.ts";
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm run sample --",
    description: "Generate text with a model trained by `npm run train`",
  },
  args: {
    prompt: valued("TEXT", "Start of the text", "The "),
    tokens: valued("N", "Tokens to write after the prompt", "300"),
    temperature: valued(
      "X",
      "Sampling temperature; 0 always takes the likeliest token",
      "0.8",
    ),
    "top-k": valued("N", "Sample from the N likeliest tokens only", "40"),
    seed: valued(
      "N",
      "Seed of sampling; the same options give the same text",
      "0",
    ),
  },
  operands: {
    name: "checkpoint",
    description: "Checkpoint to read (default: that of the latest run)",
  },
  async run({ args }) {
    const options = {
      prompt: args.prompt,
      maxTokens: wholeNumber("tokens", args.tokens, 1),
      temperature: finite("temperature", args.temperature, 0),
      topK: wholeNumber("top-k", args["top-k"], 1),
      seed: wholeNumber("seed", args.seed, 0),
    };
    if (options.prompt === "")
      throw new UsageError(
        "Expected --prompt to be at least one byte, got none",
      );
    const path = namedModel(keptCheckpoint(args._), "sample");
    await ensureBuilt(BUILD_TARGETS.kernels, BUILD_TARGETS["kernels-decode"]);
    const writer = await openWriter(await localModel(path));
    const pieces = writePieces(writer, options);
    const first = await pieces.next(); // what is no checkpoint is refused before anything is written
    process.stdout.write(options.prompt);
    if (!first.done) process.stdout.write(first.value);
    for await (const piece of pieces) process.stdout.write(piece);
    process.stdout.write("\n");
  },
});
