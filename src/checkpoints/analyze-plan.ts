/**
 * Plans the analysis of the tensors of a model directory that would be quantized for a loader, as decided by
 * quantizing.
 */
import { AppError } from "../api/errors.ts";
import type { Rotation } from "../api/options.ts";
import { type Loader, LOADERS, type Target } from "../api/scheme.ts";
import type { AnalyzeFolderOptions } from "../api/tensors.ts";
import { checkSize, rowsOf } from "../formats/blocks/block-rows.ts";
import { schemeOf } from "../formats/blocks/scheme.ts";
import {
  type Analyzing,
  checkFigures,
  reporting,
} from "../formats/operations/analysis-report.ts";
import { Judge } from "../formats/operations/judge.ts";
import { nothingTo } from "../formats/operations/nothing-done.ts";
import { bytesOfRuns } from "../formats/stream/file-range.ts";
import { HoldPool } from "../formats/stream/hold-pool.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { decideDirectory } from "./decide-directory.ts";
import { foldCheckpoint, type Norms, type NormsOf } from "./fold.ts";
import {
  type AskedTensor,
  ggufCandidates,
  targetCandidates,
} from "./judged.ts";
import type { TensorRead } from "./tensor-reads.ts";
import {
  advice,
  modelSchemes,
  selectionOf,
  type TakenByLoader,
} from "./loader-advice.ts";

export type FolderAnalysis = NormsOf & {
  /** What the conversion reads, in order. */
  reads: readonly TensorRead[];
  /** Opens the analysis from its start. */
  open: (norms: Norms) => Analyzing;
};

/**
 * Without `for`: all tensors that any loader accepts, with the best choice for each loader. Errors:
 * `nothing_to_convert` if there are none; those of the loader's decision
 */
export function planFolderAnalysis(
  checkpoint: Checkpoint,
  options: AnalyzeFolderOptions,
): FolderAnalysis {
  const { for: loader, rotate = "none" } = options;
  const { seed } = schemeOf(options);
  const { schemes, refused } = modelSchemes(options);
  const selection = selectionOf(options);
  const decidedFor = (target: Target | undefined) =>
    decideDirectory(checkpoint, { target, rotate, selection });
  const candidatesFor = (each: Loader): readonly AskedTensor[] => {
    if (each === "llama.cpp") {
      checkNotRotated(rotate);
      return ggufCandidates(checkpoint, options);
    }
    return targetCandidates(decidedFor(each), each, selection, seed);
  };
  const all = loader
    ? candidatesFor(loader)
    : targetCandidates(decidedFor(undefined), undefined, selection, seed);
  const judged = all.filter((each) => each.judged !== undefined);
  if (judged.length === 0)
    throw nothingTo("analyze", all, (_, i) => all[i]!.reason);
  checkFigures(judged.length, schemes.length);
  for (const { name, shape } of judged) checkSize(name, rowsOf(shape, 0));
  const passedOver = all
    .filter((each) => each.judged === undefined)
    .map(({ name, dtype, shape, reason }) => ({ name, dtype, shape, reason }));
  const taken = loader
    ? [{ loader, indices: judged.map((_, i) => i), refusal: null }]
    : LOADERS.map((each) => takenBy(each, judged, candidatesFor));
  const reads = judged.flatMap((each) => each.judged!.reads);
  const { norms, normOffset } =
    rotate === "fold" ? foldCheckpoint(checkpoint) : NO_NORMS;
  return {
    norms,
    normOffset,
    reads,
    open(norms) {
      const pool = new HoldPool();
      const judge = new Judge(schemes, judged.length, pool, 3 * judged.length);
      const sections = judged.flatMap((each, i) =>
        each.judged!.sections(judge.writer(i, each.place), pool, i, norms),
      );
      return reporting(judge, judged, passedOver, advice(taken, refused), {
        sections,
        inputBytes: bytesOfRuns(reads),
        pool,
        heldBytes: Math.max(0, ...judged.map((each) => each.judged!.heldBytes)),
      });
    },
  };
}

const NO_NORMS: NormsOf = { norms: [], normOffset: 0 };

function checkNotRotated(rotate: Rotation): void {
  if (rotate === "none") return;
  throw new AppError(
    "invalid_option",
    `Expected no \`rotate\` for llama.cpp, whose GGUF takes none, got ${rotate}`,
  );
}

/** The tensors of the directory that a loader accepts in MXFP4, under whatever names. */
function takenBy(
  loader: Loader,
  judged: readonly AskedTensor[],
  candidatesFor: (loader: Loader) => readonly AskedTensor[],
): TakenByLoader {
  try {
    const names = new Set(
      candidatesFor(loader)
        .filter((each) => each.judged !== undefined)
        .flatMap(({ sources }) => sources),
    );
    const indices = judged.flatMap(({ name }, i) =>
      names.has(name) ? [i] : [],
    );
    const refusal = indices.length === 0 ? "it takes none of them" : null;
    return { loader, indices, refusal };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { loader, indices: [], refusal: error.message };
  }
}
