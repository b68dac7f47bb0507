/** The model of a run, by typed options. */
import {
  type ModelRequest,
  type ModelSizes,
  writtenArchitecture,
} from "../../api/run-config.ts";
import { UsageError } from "../file-arguments.ts";
import { count, optionalCount } from "../numbers.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";
import type { Origin } from "./origin.ts";
import { MODEL_PRESETS } from "./presets.ts";

type Sizes = Omit<ModelSizes, "vocabulary">;

/** Typed sizes; defaults are those of the imported model or the preset. Errors: UsageError for both */
export function sizesOf(
  args: TrainArgs,
  told: ToldArgs,
  origin: Origin | undefined,
): Sizes {
  if (origin && told.preset !== undefined)
    throw new UsageError(
      `Expected --from, whose model has sizes of its own, without --preset, got --preset ${told.preset} beside it`,
    );
  const others = origin?.shape ?? MODEL_PRESETS[args.preset];
  const size = (name: keyof Sizes) => count(name, args[name], others[name]);
  return {
    layers: size("layers"),
    width: size("width"),
    heads: size("heads"),
    context: size("context"),
  };
}

/** The model in the API's request: for an imported model, only what was typed. */
export function askedModel(
  args: TrainArgs,
  told: ToldArgs,
  sizes: Sizes,
  origin: Origin | undefined,
): ModelRequest {
  const asLlama = {
    groups: optionalCount("groups", args.groups),
    hidden: optionalCount("hidden", args.hidden),
    headNorm: args["head-norm"],
  };
  if (!origin)
    return { arch: writtenArchitecture(args.arch), ...sizes, ...asLlama };
  const toldSizes = Object.entries(sizes).filter(([name]) => name in told);
  return { ...Object.fromEntries(toldSizes), ...asLlama, arch: told.arch };
}
