/** The JSON of the tensor routes, files and jobs, as a client uses it. */
import type { ValuesOf } from "./option-kinds.ts";
import type {
  ANALYZE_FOLDER_OPTIONS,
  ANALYZE_MODEL_OPTIONS,
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  FLOATS_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  JOB_OPTIONS,
  QUANTIZE_OPTIONS,
  RAW_OPTIONS,
  REPACK_OPTIONS,
  SELECTION_OPTIONS,
} from "./options.ts";
import type { PresetName } from "./presets.ts";
import type { Loader, SCHEME_OPTIONS } from "./scheme.ts";

export type SchemeOptions = ValuesOf<typeof SCHEME_OPTIONS> & {
  preset?: PresetName | undefined;
};
export type SelectionOptions = ValuesOf<typeof SELECTION_OPTIONS>;
export type RawOptions = ValuesOf<typeof RAW_OPTIONS>;

export type QuantizeOptions = ValuesOf<typeof QUANTIZE_OPTIONS>;
export type RepackOptions = ValuesOf<typeof REPACK_OPTIONS>;
export type DequantizeOptions = ValuesOf<typeof DEQUANTIZE_OPTIONS>;
export type FloatsOptions = ValuesOf<typeof FLOATS_OPTIONS>;
export type AnalyzeOptions = ValuesOf<typeof ANALYZE_OPTIONS>;
export type AnalyzeModelOptions = ValuesOf<typeof ANALYZE_MODEL_OPTIONS>;
export type AnalyzeFolderOptions = ValuesOf<typeof ANALYZE_FOLDER_OPTIONS>;
export type HadamardOptions = ValuesOf<typeof HADAMARD_OPTIONS>;
export type GemmOptions = ValuesOf<typeof GEMM_OPTIONS>;

/**
 * A file of tensors: bytes in any view; a Blob, which may be on disk (`fs.openAsBlob`); or a stream with its length.
 * Browsers do not send streams: use a Blob there.
 */
export type TensorBody =
  | ArrayBuffer
  | ArrayBufferView
  | Blob
  | { stream: ReadableStream<Uint8Array>; bytes: number };

/** Floats of `shape` [..., K] in blocks of 32 along rows, padded with zeros. */
export type QuantizedFloats = {
  /** Elements: [..., ⌈K/32⌉, 16] bytes for MXFP4, element 2j in the low nibble of byte j; 32 bytes for MXFP8. */
  blocks: Uint8Array;
  /** [..., ⌈K/32⌉]: E8M0, 2^(byte − 127); 255 is NaN. */
  scales: Uint8Array;
  /** Default: one row of whole blocks. */
  shape?: readonly number[];
  /**
   * The record of the quantization, as in files; without it, values are decoded without inverse rotation or prescale.
   */
  metadata?: Record<string, string>;
};

/** The header of a file. */
export type FileHead = {
  /** That of the file; safetensors for a .npy. */
  container: "safetensors" | "gguf";
  tensors: {
    name: string;
    /** The container's name of it: `BF16`, `Q4_0`. */
    dtype: string;
    shape: readonly number[];
    /** Range of its bytes in the file. */
    start: number;
    end: number;
  }[];
  /** Strings, and a GGUF's scalars as text; arrays are omitted. */
  metadata: Record<string, string>;
};

/** null if undefined: no error at all, or no finite element. */
export type SchemeFigures = {
  scheme: string;
  /** 10 · log10(Σ x² / Σ (x − y)²), y the decoded values. */
  sqnrDb: number | null;
  mse: number | null;
  cosine: number | null;
  maxError: number | null;
  /** Fractions of the elements. */
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

/** A selected tensor that quantizing would leave unchanged. */
export type PassedOver = {
  name: string;
  /** The container's name of it: `I64`, `Q4_0`. */
  dtype: string;
  shape: readonly number[];
  reason: string;
};

/** The answer of `POST /v1/analyze`. */
export type Analysis = {
  tensors: ({
    name: string;
    dtype: string;
    shape: readonly number[];
  } & TensorFigures)[];
  passedOver: PassedOver[];
  total: TensorFigures;
  /** How `recommended` is chosen. */
  rule: string;
  /** For a model: the requested loader; for a directory: all of them. */
  loaders: LoaderAdvice[];
  /** Schemes that no loader supports, omitted from a model's analysis. */
  refused: { scheme: string; reason: string }[];
};

/** Recommended scheme for a loader. */
export type LoaderAdvice = {
  loader: Loader;
  /** Number of analyzed tensors that it loads in MXFP4. */
  tensors: number;
  /** By `rule`, over those tensors together. */
  recommended: string | null;
  /** Why it loads none. */
  refusal: string | null;
};

/** An operation that turns a file into another. */
export type FileOperation =
  | { operation: "quantize"; options?: QuantizeOptions | undefined }
  | { operation: "dequantize"; options?: DequantizeOptions | undefined }
  | { operation: "repack"; options?: RepackOptions | undefined }
  | { operation: "hadamard"; options?: HadamardOptions | undefined };

/** A file in the bucket. */
export type StoredFile = {
  name: string;
  bytes: number;
  /** Lower-case hexadecimal SHA-256; null for one uploaded in parts, which have their own. */
  digest: string | null;
};

/** A part of a multipart upload, numbered from 1. */
export type UploadPart = { part: number; bytes: number; digest: string };

/** A multipart upload, with the parts received. */
export type FileUpload = {
  file: string;
  /** Its id among the uploads of this file, made of the two sizes. */
  upload: string;
  bytes: number;
  /** Size of each part but the last. */
  partBytes: number;
  parts: UploadPart[];
};

/** An entry of a list of files. */
export type FileEntry = { name: string; bytes: number; storedMs: number };

/** A page of files, ordered by name; `next` is the next page's `cursor`, null on the last. */
export type FilePage = { files: FileEntry[]; next: string | null };

/** On a file, or on a model's folder. */
export type JobOperation = {
  [Name in keyof typeof JOB_OPTIONS]: {
    operation: Name;
    options?: ValuesOf<(typeof JOB_OPTIONS)[Name]> | undefined;
  };
}[keyof typeof JOB_OPTIONS];

/** A file elsewhere, or a model's directory if it ends with a slash; the token is sent to that host only. */
export type UrlSource = { url: string; token?: string | undefined };

/** The body of `POST /v1/jobs`: an operation on stored files. */
export type JobRequest = JobOperation & {
  /** Name of a file or, if there is none, of a folder; or a URL. */
  source: string | UrlSource;
  /** Name of the resulting file or folder; default: the job's id with a file's extension. */
  result?: string | undefined;
  /** A key chosen by the caller, which makes the request idempotent: becomes the job's id. */
  clientKey?: string | undefined;
  /** How long the job and its result are kept after it ended; default 7 days. */
  retentionMs?: number | undefined;
};

export type JobState = "running" | "finished" | "failed";

export type JobSummary = {
  job: string;
  state: JobState;
  source: string;
  result: string;
  /** Whether the result is a folder. */
  isFolder: boolean;
  operation: JobOperation["operation"];
  /** Bytes of the source, read and in total; null until a URL has answered. */
  inputBytes: number;
  totalInputBytes: number | null;
  /** Bytes of the result, written and in total; null until the job has read the source's header. */
  outputBytes: number;
  totalOutputBytes: number | null;
  createdMs: number;
  endedMs: number | null;
  /** When the job and its result are deleted; null while it runs. */
  expiresMs: number | null;
  /** Why it failed. */
  error: { code: string; detail: string } | null;
};

/** The answer of `GET /v1/jobs/:job`. */
export type JobStatus = JobSummary & {
  /** Weight files of a folder that were not read: in another format, or not of the model. */
  leftOut: string[];
  /** Files that a loader needs and the folder lacks: config.json. */
  missing: string[];
  /** The latest lines. */
  log: { timeMs: number; text: string }[];
};

/** The answer of `GET /v1/jobs`, newest first. */
export type JobPage = {
  jobs: JobSummary[];
  /** The next page's `cursor`; null on the last. */
  next: string | null;
};
