/** What a request's options make of a file: one place for every caller that is not the HTTP query. */
import { AppError } from "../../api/errors.ts";
import type { FileOperation } from "../../api/tensors.ts";
import type { Conversion } from "../stream/conversion.ts";
import type { DecodedDtype } from "../dtype.ts";
import { planDequantize } from "./dequantize-file.ts";
import type { FloatDtype } from "../dtype.ts";
import { planDequantizeGguf, planQuantizeGguf } from "./gguf-file.ts";
import { planHadamard } from "./hadamard-file.ts";
import type { Input, RawHead } from "../containers/input.ts";
import { planQuantize } from "./quantize-file.ts";
import { DEFAULT_SCHEME, defaultScale, type Scheme } from "../blocks/scheme.ts";
import type { Selection } from "./selection.ts";
import type {
  QuantizeOptions,
  RawOptions,
  SchemeOptions,
  SelectionOptions,
} from "../../api/tensors.ts";

/** Errors: those of the operation's plan; `invalid_option` for a layout that GGUF does not have */
export function planFile(input: Input, request: FileOperation): Conversion {
  switch (request.operation) {
    case "quantize":
      return planQuantized(input, request.options ?? {});
    case "dequantize": {
      const { dtype = "f32" } = request.options ?? {};
      const decoded = dtype.toUpperCase() as DecodedDtype;
      return input.container === "gguf"
        ? planDequantizeGguf(input, decoded)
        : planDequantize(input, decoded);
    }
    case "hadamard": {
      const options = request.options ?? {};
      const { direction = "forward", hadamard = 64, seed = 0 } = options;
      return planHadamard(input, {
        direction,
        segmentLength: hadamard,
        seed,
        selection: selectionOf(options),
      });
    }
  }
}

function planQuantized(input: Input, options: QuantizeOptions): Conversion {
  const scheme = schemeOf(options);
  const selection = selectionOf(options);
  const { layout } = options;
  if (input.container !== "gguf") {
    return planQuantize(input, {
      scheme,
      selection,
      layout: layout ?? "gpt-oss",
    });
  }
  if (layout !== undefined && layout !== "ggml") {
    throw new AppError(
      "invalid_option",
      `Expected layout ggml for GGUF, got "${layout}"`,
    );
  }
  return planQuantizeGguf(input, { scheme, selection, layout: "ggml" });
}

export function schemeOf(options: SchemeOptions): Scheme {
  const rounding = options.rounding ?? DEFAULT_SCHEME.rounding;
  const { scale, prescale, minScale, hadamard, seed } = options;
  return {
    rounding,
    scale: scale ?? defaultScale(rounding),
    prescale: prescale ?? DEFAULT_SCHEME.prescale,
    minScale: minScale ?? DEFAULT_SCHEME.minScale,
    hadamard: hadamard ?? DEFAULT_SCHEME.hadamard,
    seed: seed ?? DEFAULT_SCHEME.seed,
  };
}

export function selectionOf(options: SelectionOptions): Selection {
  return { include: options.include ?? [], exclude: options.exclude ?? [] };
}

export function rawOf({ raw }: RawOptions): RawHead | undefined {
  return raw && { ...raw, dtype: raw.dtype.toUpperCase() as FloatDtype };
}
