/** Quantizes a model's directory for a loader. */
import { checkConfigSizes } from "../checkpoints/config-sizes.ts";
import { DIRECTORY_OPTIONS, SELECTION_OPTIONS } from "../api/options.ts";
import { withDefaults } from "../api/option-kinds.ts";
import type { JobOperation } from "../api/tensors.ts";
import { decideDirectory } from "../checkpoints/decide-directory.ts";
import { inspect } from "../checkpoints/inspect.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { convertDirectory } from "./convert-directory.ts";
import { UsageError } from "./file-arguments.ts";
import { localFolder } from "./ranged-files.ts";
import { quantizeGguf } from "./quantize-gguf.ts";
import { showDirectory } from "./show-directory.ts";

export type DirectoryRequest = {
  from: string;
  /** If undefined, only prints what would be done. */
  to: string | undefined;
  asJson: boolean;
  force: boolean;
  withFigures: boolean;
  options: NonNullable<
    Extract<JobOperation, { operation: "quantize" }>["options"]
  >;
};

export async function quantizeDirectory(
  request: DirectoryRequest,
): Promise<void> {
  const { from, to, options } = request;
  const { for: target, rotate } = withDefaults(DIRECTORY_OPTIONS, options);
  if (target === "llama.cpp") {
    await quantizeGguf(request);
    return;
  }
  const checkpoint = await readFolder(localFolder(from));
  checkConfigSizes(checkpoint);
  if (target === undefined) {
    const able = inspect(checkpoint).loaders.filter(({ loads }) => loads);
    const names = able.map(({ loader }) => loader).join(", ") || "none";
    throw new UsageError(
      `Expected --for and a loader, got a directory alone; this model can be made for ${names}`,
    );
  }
  if (to === undefined) {
    const selection = withDefaults(SELECTION_OPTIONS, options);
    const decided = decideDirectory(checkpoint, { target, rotate, selection });
    console.log(showDirectory(decided, request.asJson));
    return;
  }
  const operation = { operation: "quantize", options } as const;
  await convertDirectory({ ...request, to, checkpoint, request: operation });
}
