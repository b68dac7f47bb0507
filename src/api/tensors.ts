/** The tensor routes' options and figures, as a client names them. */
import type { Recipe } from "./recipe.ts";

/** Every choice that the bytes of a quantized tensor depend on; docs/compatibility.md has sets of them. */
export type SchemeOptions = {
  rounding?: "nearest-even" | "nearest-away" | "nearest-zero" | "stochastic";
  scale?: "floor" | "rceil" | "ceil" | "even";
  prescale?: 1 | 0.75;
  /** The least scale byte. */
  minScale?: 0 | 1;
  /** Length of a random Hadamard transform's segment; 0: none. */
  hadamard?: 0 | 16 | 32 | 64 | 128 | 256;
  seed?: number;
};

/** Names of tensors, with `*` and `?`. */
export type SelectionOptions = {
  include?: readonly string[];
  exclude?: readonly string[];
};

/** What a raw body holds, which does not say it itself. */
export type RawOptions = {
  raw?: {
    dtype: "f32" | "f16" | "bf16" | "f64";
    shape: readonly number[];
  };
};

export type QuantizeOptions = SchemeOptions &
  SelectionOptions &
  RawOptions & { layout?: "gpt-oss" | "ggml" | "compressed-tensors" };

export type DequantizeOptions = { dtype?: "f32" | "bf16" | "f16" };

export type AnalyzeOptions = SchemeOptions &
  SelectionOptions &
  RawOptions & {
    /** Named schemes, or options such as `scale=even;hadamard=64`. */
    compare?: readonly string[];
  };

export type HadamardOptions = SelectionOptions &
  RawOptions & {
    direction?: "forward" | "inverse";
    hadamard?: 16 | 32 | 64 | 128 | 256;
    seed?: number;
  };

export type GemmOptions = { recipe?: Recipe; seed?: number };

/** null where a figure has no value: no error at all, or no finite element. */
export type SchemeFigures = {
  scheme: string;
  sqnrDb: number | null;
  mse: number | null;
  cosine: number | null;
  maxError: number | null;
  /** Shares of the elements. */
  clipped: number;
  zeroed: number;
  nan: number;
};

export type TensorFigures = {
  elements: number;
  /** 3 for normal values, large with outliers. */
  kurtosis: number | null;
  schemes: SchemeFigures[];
  recommended: string | null;
};

/** What `POST /v1/analyze` answers. */
export type Analysis = {
  tensors: ({
    name: string;
    dtype: string;
    shape: readonly number[];
  } & TensorFigures)[];
  total: TensorFigures;
  /** How a scheme is recommended. */
  rule: string;
};
