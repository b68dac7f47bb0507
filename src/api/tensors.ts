/** The tensor routes' options and figures, as a client names them. */
import type { GemmRecipe } from "./recipe.ts";

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

export type GemmOptions = { recipe?: GemmRecipe; seed?: number };

/** null where a figure has no value: no error at all, or no finite element. */
export type SchemeFigures = {
  scheme: string;
  /** 10 · log10(Σ x² / Σ (x − y)²), y the decoded values. */
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
  /** Fourth moment over the squared second: 3 for normal values, large with outliers. */
  kurtosis: number | null;
  schemes: SchemeFigures[];
  recommended: string | null;
};

/** A tensor that the request meant, and that quantizing would leave as it is. */
export type PassedOver = {
  name: string;
  /** As the file's container calls it: `I64`, `Q4_0`. */
  dtype: string;
  shape: readonly number[];
  reason: string;
};

/** What `POST /v1/analyze` answers. */
export type Analysis = {
  tensors: ({
    name: string;
    dtype: string;
    shape: readonly number[];
  } & TensorFigures)[];
  passedOver: PassedOver[];
  total: TensorFigures;
  /** How a scheme is recommended. */
  rule: string;
};

/** What makes a file of another one. */
export type FileOperation =
  | { operation: "quantize"; options?: QuantizeOptions | undefined }
  | { operation: "dequantize"; options?: DequantizeOptions | undefined }
  | { operation: "hadamard"; options?: HadamardOptions | undefined };

/** A file in the bucket. */
export type StoredFile = {
  name: string;
  bytes: number;
  /** Lower-case hexadecimal SHA-256. */
  digest: string;
};

/** What `POST /v1/jobs` takes: an operation on a stored file. */
export type JobRequest = FileOperation & {
  /** Name of a file. */
  source: string;
  /** Name of the file that it shall become; unless told, the job's id and the source's extension. */
  result?: string | undefined;
  /** A key of the caller's choice, so that repeating the request creates one job: its id. */
  clientKey?: string | undefined;
  /** How long the job and its result stay once it has ended; 7 days unless told. */
  retentionMs?: number | undefined;
};

export type JobState = "running" | "finished" | "failed";

export type JobSummary = {
  job: string;
  state: JobState;
  source: string;
  result: string;
  operation: FileOperation["operation"];
  /** Of the source, read so far and in all. */
  inputBytes: number;
  totalInputBytes: number;
  /** Of the result; the total is known once the job has read the source's head. */
  outputBytes: number;
  totalOutputBytes: number | null;
  createdMs: number;
  endedMs: number | null;
  /** When it goes, and its result with it; null while it runs. */
  expiresMs: number | null;
  /** Why it failed. */
  error: { code: string; detail: string } | null;
};

/** What `GET /v1/jobs/:job` answers. */
export type JobStatus = JobSummary & {
  /** The latest lines. */
  log: { timeMs: number; text: string }[];
};

/** What `GET /v1/jobs` answers: the newest first. */
export type JobPage = {
  jobs: JobSummary[];
  /** The `cursor` of the page behind this one; null when there is none. */
  next: string | null;
};
