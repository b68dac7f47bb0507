/** Plans an operation on a file from its options, for every caller. */
import {
  expected,
  invalidOption,
  withDefaults,
} from "../../api/option-kinds.ts";
import {
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  REPACK_OPTIONS,
  SELECTION_OPTIONS,
} from "../../api/options.ts";
import type { Layout } from "../../api/scheme.ts";
import type {
  AnalyzeOptions,
  FileOperation,
  QuantizeOptions,
  RawOptions,
  RepackOptions,
} from "../../api/tensors.ts";
import { presetOf, schemeOf } from "../blocks/scheme.ts";
import type { TensorFile } from "../containers/container.ts";
import type { RawHead } from "../containers/containers.ts";
import type { DecodedDtype, FloatDtype } from "../dtype.ts";
import type { Conversion } from "../stream/conversion.ts";
import type { Analyzing } from "./analysis-report.ts";
import { planAnalysis } from "./analyze-file.ts";
import { planDequantize } from "./dequantize-file.ts";
import { planHadamard } from "./hadamard-file.ts";
import { namedSchemes } from "./named-schemes.ts";
import { type ValueWatch, valuesOf } from "./nonfinite-values.ts";
import { planQuantize } from "./quantize-file.ts";
import { planRepack } from "./repack-file.ts";
import { typeRules } from "./tensor-types.ts";

/** Errors: those of the operation's plan */
export function planFile(
  file: TensorFile,
  request: FileOperation,
  values: ValueWatch = valuesOf(request.options?.nonfinite),
): Conversion {
  switch (request.operation) {
    case "quantize":
      return planQuantized(file, request.options ?? {}, values);
    case "dequantize": {
      const { dtype } = withDefaults(DEQUANTIZE_OPTIONS, request.options);
      return planDequantize(file, dtype.toUpperCase() as DecodedDtype, values);
    }
    case "repack":
      return planRepack(file, toldLayout(request.options), values);
    case "hadamard": {
      const options = withDefaults(HADAMARD_OPTIONS, request.options);
      const { direction, hadamard, seed, include, exclude } = options;
      const selection = { include, exclude };
      const choices = { direction, segmentLength: hadamard, seed, selection };
      return planHadamard(file, choices, values);
    }
  }
}

/** Errors: `invalid_option` if `to` is missing */
export function toldLayout({ to }: RepackOptions = {}): Layout {
  if (to !== undefined) return to;
  throw invalidOption(`\`to\` to be ${expected(REPACK_OPTIONS.to)}`, "nothing");
}

function planQuantized(
  file: TensorFile,
  options: QuantizeOptions,
  values: ValueWatch,
): Conversion {
  checkOfGguf(file, options);
  // A GGUF has only one layout.
  const preset = file.target.isPlain ? {} : presetOf(options);
  const choices = {
    scheme: schemeOf(options),
    selection: withDefaults(SELECTION_OPTIONS, options),
    layout: options.layout ?? preset.layout,
    output: options.outputType ?? QUANTIZE_OPTIONS.outputType.default,
    types: typeRules(options.tensorType ?? []),
  };
  return planQuantize(file, choices, values);
}

/** Errors: `invalid_option` for options of GGUF tensors if the file is not a GGUF */
export function checkOfGguf(
  { target }: TensorFile,
  {
    outputType,
    tensorType: [rule] = [],
  }: Pick<QuantizeOptions, "outputType" | "tensorType">,
): void {
  if (target.isPlain) return;
  const told = { outputType, tensorType: rule };
  for (const [name, value] of Object.entries(told))
    if (value !== undefined)
      throw invalidOption(
        `no \`${name}\` for a file that is not a GGUF`,
        `"${value}"`,
      );
}

/** Returns the analysis of a file with these options. Errors: `invalid_option`; later, those of `planAnalysis` */
export function analysisOf(
  options: AnalyzeOptions,
): (file: TensorFile) => Analyzing {
  const schemes = namedSchemes(options, options.compare);
  const selection = withDefaults(SELECTION_OPTIONS, options);
  const output = options.outputType ?? ANALYZE_OPTIONS.outputType.default;
  return (file) => {
    checkOfGguf(file, options);
    return planAnalysis(file, schemes, { ...selection, output });
  };
}

export function rawOf({ raw }: RawOptions): RawHead | undefined {
  return raw && { ...raw, dtype: raw.dtype.toUpperCase() as FloatDtype };
}
