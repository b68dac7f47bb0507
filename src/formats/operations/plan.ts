/** What a request's options make of a file: one place for every caller. */
import { AppError } from "../../api/errors.ts";
import type { Conversion } from "../stream/conversion.ts";
import type { DecodedDtype } from "../dtype.ts";
import { planDequantize } from "./dequantize-file.ts";
import type { FloatDtype } from "../dtype.ts";
import { planDequantizeGguf, planQuantizeGguf } from "./gguf-file.ts";
import { planHadamard } from "./hadamard-file.ts";
import type { Input, RawHead } from "../containers/input.ts";
import { planQuantize } from "./quantize-file.ts";
import { presetOf, schemeOf } from "../blocks/scheme.ts";
import { withDefaults } from "../../api/option-kinds.ts";
import {
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  SELECTION_OPTIONS,
} from "../../api/options.ts";
import type {
  AnalyzeOptions,
  FileOperation,
  QuantizeOptions,
  RawOptions,
} from "../../api/tensors.ts";
import { type Analyzing, planAnalysis } from "./analyze-file.ts";
import { namedSchemes } from "./named-schemes.ts";

/** Errors: those of the operation's plan; `invalid_option` for a layout that GGUF does not have */
export function planFile(input: Input, request: FileOperation): Conversion {
  switch (request.operation) {
    case "quantize":
      return planQuantized(input, request.options ?? {});
    case "dequantize": {
      const { dtype } = withDefaults(DEQUANTIZE_OPTIONS, request.options);
      const decoded = dtype.toUpperCase() as DecodedDtype;
      return input.container === "gguf"
        ? planDequantizeGguf(input, decoded)
        : planDequantize(input, decoded);
    }
    case "hadamard": {
      const options = withDefaults(HADAMARD_OPTIONS, request.options);
      const { direction, hadamard, seed, include, exclude } = options;
      return planHadamard(input, {
        direction,
        segmentLength: hadamard,
        seed,
        selection: { include, exclude },
      });
    }
  }
}

function planQuantized(input: Input, options: QuantizeOptions): Conversion {
  const scheme = schemeOf(options);
  const selection = withDefaults(SELECTION_OPTIONS, options);
  const { layout, outputType: output = QUANTIZE_OPTIONS.outputType.default } =
    options;
  if (input.container !== "gguf") {
    const fallback =
      presetOf(options).layout ?? QUANTIZE_OPTIONS.layout.default;
    return planQuantize(input, {
      scheme,
      selection,
      layout: layout ?? fallback,
    });
  }
  if (layout !== undefined && layout !== "ggml") {
    throw new AppError(
      "invalid_option",
      `Expected layout ggml for GGUF, got "${layout}"`,
    );
  }
  return planQuantizeGguf(input, { scheme, selection, output });
}

/** What an analysis by these options makes of a file. Errors: `invalid_option`; later, `planAnalysis`'s */
export function analysisOf(
  options: AnalyzeOptions,
): (input: Input) => Analyzing {
  const schemes = namedSchemes(schemeOf(options), options.compare);
  const selection = withDefaults(SELECTION_OPTIONS, options);
  const { outputType = ANALYZE_OPTIONS.outputType.default } = options;
  return (input) => planAnalysis(input, schemes, selection, outputType);
}

export function rawOf({ raw }: RawOptions): RawHead | undefined {
  return raw && { ...raw, dtype: raw.dtype.toUpperCase() as FloatDtype };
}
