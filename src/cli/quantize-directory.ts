/** A model's directory to another, which a loader takes. */
import { basename, resolve } from "node:path";
import pc from "picocolors";
import type { QuantizeOptions } from "../api/tensors.ts";
import {
  DIRECTORY_OPTIONS,
  type Rotation,
  SELECTION_OPTIONS,
} from "../api/options.ts";
import { withDefaults } from "../api/option-kinds.ts";
import { type Norms, normOf } from "../checkpoints/fold.ts";
import { decideDirectory } from "../checkpoints/decide-directory.ts";
import { inspect } from "../checkpoints/inspect.ts";
import { modelCard } from "../checkpoints/model-card.ts";
import {
  type DirectoryPlan,
  planDirectory,
} from "../checkpoints/quantize-plan.ts";
import { type RangedFile, readFolder } from "../checkpoints/read-heads.ts";
import { dataBytes, headBytes } from "../checkpoints/shards.ts";
import type { Target } from "../checkpoints/targets.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import {
  KeptValues,
  valuesOf,
} from "../formats/operations/nonfinite-values.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { size } from "./bar.ts";
import { tellKept } from "./convert-file.ts";
import { checkOutputFolder, writeDirectory } from "./directory-output.ts";
import { UsageError } from "./file-arguments.ts";
import { localFolder } from "./ranged-files.ts";
import { showDirectory } from "./show-directory.ts";

export type DirectoryRequest = {
  from: string;
  /** Without it, what would be done is printed. */
  to: string | undefined;
  asJson: boolean;
  target: Target | undefined;
  maxShardBytes: number;
  force: boolean;
  rotate: Rotation | undefined;
  withFigures: boolean;
  options: QuantizeOptions;
};

export async function quantizeDirectory(
  request: DirectoryRequest,
): Promise<void> {
  const { from, to, target, maxShardBytes, options } = request;
  const checkpoint = await readFolder(localFolder(from));
  if (target === undefined) {
    const able = inspect(checkpoint).loaders.filter(({ loads }) => loads);
    const names = able.map(({ loader }) => loader).join(", ") || "none";
    throw new UsageError(
      `Expected --for and a loader, got a directory alone; this model can be made for ${names}`,
    );
  }
  const { rotate } = withDefaults(DIRECTORY_OPTIONS, {
    rotate: request.rotate,
  });
  const selection = withDefaults(SELECTION_OPTIONS, options);
  if (to === undefined) {
    const choices = { target, rotate, selection };
    const decided = decideDirectory(checkpoint, choices);
    console.log(showDirectory(decided, request.asJson));
    return;
  }
  checkOutputFolder(to, request.force);
  loadKernelsFile();
  const scheme = schemeOf(options);
  const kept = new KeptValues();
  const plan = planDirectory(checkpoint, {
    target,
    rotate,
    scheme,
    selection,
    maxShardBytes,
    withFigures: request.withFigures,
    watch: valuesOf(options.nonfinite, kept).watch,
  });
  const seconds = await writeDirectory({
    operation: "quantize",
    from,
    to,
    force: request.force,
    shards: plan.shards,
    texts: plan.texts,
    norms: (files) => normsOf(plan, files),
    card: (digests) =>
      modelCard({
        name: basename(resolve(from)),
        target,
        options: { ...scheme, ...options },
        kept: kept.tensors,
        foldSeed: rotate === "fold" ? scheme.seed : undefined,
        tensors: plan.decisions.flatMap(({ packed }, i) => {
          const { name, shape } = plan.tensors[i]!;
          if (!packed) return [];
          const digest = digests.get(name)!;
          const errors = plan.figures?.of(name);
          return [{ name, shape, digest, errors }];
        }),
        bytesBefore: checkpoint.tensors.reduce(
          (n, each) => n + headBytes(each),
          0,
        ),
        bytesAfter: dataBytes(plan.shards),
      }),
  });
  tellKept(kept);
  const packed = plan.decisions.filter((each) => each.packed).length;
  console.error(
    `${pc.bold(to)}: ${packed} of ${plan.tensors.length} tensors in MXFP4 for ${target}, ${size(dataBytes(plan.shards))} in ${seconds.toFixed(1)} s`,
  );
}

/** The norms that a rotation takes with it, read before the weights. */
async function normsOf(
  { norms, normOffset }: DirectoryPlan,
  files: ReadonlyMap<string, RangedFile>,
): Promise<Norms> {
  const read = new Map<string, Float32Array>();
  for (const tensor of norms) {
    const { name, file, start, end } = tensor;
    const bytes = await files.get(file)!.read(start, end);
    read.set(name, normOf(tensor, bytes, normOffset));
  }
  return read;
}
