import { checkArguments } from "../file-arguments.ts";
import { ablationArgs } from "./arguments.ts";

export const ablationCommand = {
  args: ablationArgs,
  async run(context: Parameters<typeof checkArguments>[0]): Promise<void> {
    checkArguments(context, ablationArgs);
    const { ablation } = await import("./ablation.ts");
    process.exitCode = await ablation(context.rawArgs);
  },
};
