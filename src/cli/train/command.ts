import { checkArguments } from "../file-arguments.ts";
import { trainArgs } from "./arguments.ts";

export const trainCommand = {
  meta: {
    name: "train",
    description:
      "Train a small GPT or Llama in MXFP4, data-parallel, on a local edge or on the edge at --url",
  },
  args: trainArgs,
  async run(context: Parameters<typeof checkArguments>[0]): Promise<void> {
    checkArguments(context, trainArgs);
    const { train } = await import("./train.ts");
    process.exitCode = await train(context.rawArgs);
  },
};
