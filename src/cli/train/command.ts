import { checkArguments } from "../file-arguments.ts";
import { trainArgs } from "./arguments.ts";

export const trainCommand = {
  meta: {
    name: "train",
    description:
      "Train a small GPT on an edge of this machine, or on another by --url, data-parallel, in MXFP4",
  },
  args: trainArgs,
  async run(context: Parameters<typeof checkArguments>[0]): Promise<void> {
    checkArguments(context, trainArgs);
    const { train } = await import("./train.ts");
    process.exitCode = await train(context.rawArgs);
  },
};
