import { checkArguments } from "../file-arguments.ts";
import { trainArgs } from "./arguments.ts";

export const trainCommand = {
  args: trainArgs,
  async run(context: Parameters<typeof checkArguments>[0]): Promise<void> {
    checkArguments(context, trainArgs);
    const { train } = await import("./train.ts");
    process.exitCode = await train(context.rawArgs);
  },
};
