/** Plans the analysis of one file; with `for`, of the tensors that the loader accepts. */
import { AppError } from "../api/errors.ts";
import { ANALYZE_OPTIONS } from "../api/options.ts";
import type { Target } from "../api/scheme.ts";
import type { AnalyzeModelOptions } from "../api/tensors.ts";
import type { TensorFile } from "../formats/containers/container.ts";
import type { Analyzing } from "../formats/operations/analysis-report.ts";
import {
  planAnalysis,
  type Judgement,
} from "../formats/operations/analyze-file.ts";
import {
  analysisOf,
  checkOfGguf,
} from "../formats/operations/file-operation.ts";
import {
  isNamed,
  type Selection,
} from "../formats/operations/name-patterns.ts";
import type { TensorHead, TensorRange } from "../formats/tensor.ts";
import { type CheckpointTensor, checkpointOf } from "./checkpoint.ts";
import { decideDirectory } from "./decide-directory.ts";
import { advice, modelSchemes, selectionOf } from "./loader-advice.ts";

/** Returns the analysis of a file with these options. Errors: `invalid_option`; later, those of `planAnalysis` */
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
    checkOfGguf(file, options);
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
