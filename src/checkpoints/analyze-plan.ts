/**
 * An analysis of what would be quantized for a loader: of a model's directory, or of one file. Which tensors
 * those are is decided where quantizing decides it.
 */
import { AppError } from "../api/errors.ts";
import { withDefaults } from "../api/option-kinds.ts";
import {
  ANALYZE_OPTIONS,
  type Rotation,
  SELECTION_OPTIONS,
} from "../api/options.ts";
import {
  type Loader,
  LOADERS,
  SCALE_RULES,
  type Target,
} from "../api/scheme.ts";
import type {
  AnalyzeFolderOptions,
  AnalyzeModelOptions,
  LoaderAdvice,
} from "../api/tensors.ts";
import { checkScheme } from "../formats/blocks/block-formats.ts";
import { checkSize, rowsOf } from "../formats/blocks/block-rows.ts";
import { notPlain, schemeOf } from "../formats/blocks/scheme.ts";
import type { TensorFile } from "../formats/containers/container.ts";
import { figures } from "../formats/operations/analysis-figures.ts";
import {
  type Advise,
  type Analyzing,
  checkFigures,
  reporting,
} from "../formats/operations/analysis-report.ts";
import {
  planAnalysis,
  type Judgement,
} from "../formats/operations/analyze-file.ts";
import { analysisOf } from "../formats/operations/file-operation.ts";
import { Judge, type NamedScheme } from "../formats/operations/judge.ts";
import { isNamed } from "../formats/operations/name-patterns.ts";
import { namedSchemes } from "../formats/operations/named-schemes.ts";
import { nothingTo } from "../formats/operations/nothing-done.ts";
import { runBytes } from "../formats/stream/file-range.ts";
import { HoldPool } from "../formats/stream/hold-pool.ts";
import type { TensorHead, TensorRange } from "../formats/tensor.ts";
import {
  type Checkpoint,
  type CheckpointTensor,
  checkpointOf,
} from "./checkpoint.ts";
import { decideDirectory } from "./decide-directory.ts";
import { foldCheckpoint, type Norms, type NormsOf } from "./fold.ts";
import {
  type AskedTensor,
  ggufCandidates,
  targetCandidates,
} from "./judged.ts";
import type { TensorRead } from "./tensor-reads.ts";
import { LOADED_FORMAT } from "./targets.ts";

export type FolderAnalysis = NormsOf & {
  /** What the conversion takes, in order. */
  reads: readonly TensorRead[];
  /** From its start. */
  open: (norms: Norms) => Analyzing;
};

/**
 * `for` undefined: what any of them takes, and what each would best be given.
 * Errors: `nothing_to_convert` where nothing is left to judge; those of the loader's decision
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
        inputBytes: reads.reduce((sum, read) => sum + runBytes(read), 0),
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

type Taken = { loader: Loader; indices: number[]; refusal: string | null };

/** Those of a directory's own tensors that a loader has in MXFP4, by whichever names. */
function takenBy(
  loader: Loader,
  judged: readonly AskedTensor[],
  candidatesFor: (loader: Loader) => readonly AskedTensor[],
): Taken {
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

function advice(taken: readonly Taken[], refused: Refused): Advise {
  return (judge) => ({
    loaders: taken.map(({ loader, indices, refusal }): LoaderAdvice => {
      const names = judge.schemes.map(({ name }) => name);
      const { recommended } = figures(judge.sum(indices), names);
      return { loader, tensors: indices.length, recommended, refusal };
    }),
    refused: [...refused],
  });
}

/** What an analysis by these options makes of a file. Errors: `invalid_option`; later, `planAnalysis`'s */
export function fileAnalysis(
  options: AnalyzeModelOptions,
): (file: TensorFile) => Analyzing {
  const { for: loader } = options;
  if (loader === undefined) return analysisOf(options);
  const { schemes, refused } = modelSchemes(options);
  const selection = selectionOf(options);
  const output = options.outputType ?? ANALYZE_OPTIONS.outputType.default;
  const choice = { ...selection, output };
  const adviseOn = (heads: readonly TensorHead[]) => {
    const indices = heads.map((_, i) => i);
    return advice([{ loader, indices, refusal: null }], refused);
  };
  return (file) => {
    const isGguf = file.target.name === "gguf";
    if (isGguf !== (loader === "llama.cpp"))
      throw new AppError(
        "invalid_option",
        `Expected ${isGguf ? "`for` llama.cpp of a GGUF" : "a GGUF or a model's directory for llama.cpp"}, got ${isGguf ? loader : "a file of safetensors, which does not say what the model computes"}`,
      );
    const verdicts = isGguf
      ? undefined
      : (view: TensorFile) => verdictsFor(view, loader as Target, selection);
    return planAnalysis(file, schemes, choice, verdicts, adviseOn);
  };
}

function verdictsFor(
  { tensors }: TensorFile,
  target: Target,
  selection: Selection,
): (Judgement | undefined)[] {
  const own = tensors as readonly TensorRange[] as CheckpointTensor[];
  const one = checkpointOf(new Map([["", own]]), undefined, undefined);
  const choices = { target, rotate: "none", selection } as const;
  const decided = decideDirectory(one, choices);
  const byName = new Map(
    decided.tensors.map(({ name }, i) => [name, decided.decisions[i]!]),
  );
  return tensors.map(({ name }) => {
    const decision = byName.get(name);
    if (!decision || !isNamed(name, selection)) return undefined;
    const { packed, role, reason } = decision;
    return { judged: packed, isTurned: role === "linear-in-out", reason };
  });
}

type Selection = ReturnType<typeof selectionOf>;
function selectionOf(options: AnalyzeModelOptions) {
  return withDefaults(SELECTION_OPTIONS, options);
}

type Refused = readonly { scheme: string; reason: string }[];

/** Those that are told, as far as a loader undoes them; unless any is, each way to find a scale. */
function modelSchemes(options: AnalyzeModelOptions): {
  schemes: NamedScheme[];
  refused: Refused;
} {
  const { compare, scale, preset } = options;
  const isOne = scale !== undefined || preset !== undefined;
  const base = schemeOf(options);
  // Scales of mse are for nearest rounding alone.
  const rules = SCALE_RULES.filter(
    (rule) => rule !== "mse" || base.rounding !== "stochastic",
  ).map((rule) => `scale=${rule}`);
  const all = namedSchemes(base, compare ?? (isOne ? undefined : rules));
  for (const { scheme } of all) checkScheme(scheme);
  const reasonOf = ({ scheme }: NamedScheme): string | undefined => {
    if (scheme.format !== LOADED_FORMAT)
      return `loaders take mxfp4 of a model, not ${scheme.format}`;
    return notPlain(scheme, false)[0];
  };
  const schemes = all.filter((each) => reasonOf(each) === undefined);
  const refused = all.flatMap((each) => {
    const reason = reasonOf(each);
    return reason === undefined ? [] : [{ scheme: each.name, reason }];
  });
  if (schemes.length > 0) return { schemes, refused };
  throw new AppError(
    "invalid_option",
    `Expected a scheme that a loader undoes, got ${refused.map(({ scheme, reason }) => `"${scheme}" (${reason})`).join(", ")}`,
  );
}
