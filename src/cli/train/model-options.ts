/** The model of a run, by what was typed. */
import {
  type ModelRequest,
  type ModelSizes,
  writtenArchitecture,
} from "../../api/run-config.ts";
import { count, optionalCount } from "../numbers.ts";
import type { ToldArgs, TrainArgs } from "./arguments.ts";
import type { Origin } from "./origin.ts";
import { MODEL_PRESETS } from "./presets.ts";

type Sizes = Omit<ModelSizes, "vocabulary">;

/** Those of what it goes on from, or else of the preset, where none are told. */
export function sizesOf(args: TrainArgs, origin: Origin | undefined): Sizes {
  const others = origin?.shape ?? MODEL_PRESETS[args.preset];
  const size = (name: keyof Sizes) => count(name, args[name], others[name]);
  return {
    layers: size("layers"),
    width: size("width"),
    heads: size("heads"),
    context: size("context"),
  };
}

/** What the API is asked for: of a model that the run goes on from, what is told alone. */
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
