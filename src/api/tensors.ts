/** The tensor routes' options and figures, as a client names them. */
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
 * A file of tensors: bytes, whatever view of them; a Blob, which may be a file that is not in memory
 * (`fs.openAsBlob`); or a stream with its length, which browsers do not send: give them a Blob.
 */
export type TensorBody =
  | ArrayBuffer
  | ArrayBufferView
  | Blob
  | { stream: ReadableStream<Uint8Array>; bytes: number };

/** Floats of `shape` [..., K] in blocks of 32 along their rows, which are padded with zeros. */
export type QuantizedFloats = {
  /** Elements: [..., ⌈K/32⌉, 16] bytes of MXFP4, the one at 2j in the low nibble of byte j; 32 of MXFP8. */
  blocks: Uint8Array;
  /** [..., ⌈K/32⌉]: E8M0, 2^(byte − 127); 255 is NaN. */
  scales: Uint8Array;
  /** One row of whole blocks unless told. */
  shape?: readonly number[];
  /** How it was quantized, as a file records it; without it, values are decoded plainly. */
  metadata?: Record<string, string>;
};

/** What a file says of itself. */
export type FileHead = {
  /** That of the file, or that of what is made of it: safetensors of a .npy. */
  container: "safetensors" | "gguf";
  tensors: {
    name: string;
    /** As the container calls it: `BF16`, `Q4_0`. */
    dtype: string;
    shape: readonly number[];
    /** Where its bytes lie in the file. */
    start: number;
    end: number;
  }[];
  /** Strings, and a GGUF's scalars as text; its arrays are left out. */
  metadata: Record<string, string>;
};

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
  /** Of a model: the loader that was told, or of a directory each. */
  loaders: LoaderAdvice[];
  /** Schemes that no loader undoes, and that a model's analysis leaves out. */
  refused: { scheme: string; reason: string }[];
};

/** What to quantize a model with for a loader. */
export type LoaderAdvice = {
  loader: Loader;
  /** Of those that are judged, how many it takes in MXFP4. */
  tensors: number;
  /** By the rule, over those together. */
  recommended: string | null;
  /** Why it takes none. */
  refusal: string | null;
};

/** What makes a file of another one. */
export type FileOperation =
  | { operation: "quantize"; options?: QuantizeOptions | undefined }
  | { operation: "dequantize"; options?: DequantizeOptions | undefined }
  | { operation: "repack"; options?: RepackOptions | undefined }
  | { operation: "hadamard"; options?: HadamardOptions | undefined };

/** A file in the bucket. */
export type StoredFile = {
  name: string;
  bytes: number;
  /** Lower-case hexadecimal SHA-256; null of one that came in parts, which have theirs. */
  digest: string | null;
};

/** A part of a file that is sent in parts, from 1. */
export type UploadPart = { part: number; bytes: number; digest: string };

/** A file that is sent in parts, and those that came. */
export type FileUpload = {
  file: string;
  /** Its id among the file's uploads: the two sizes. */
  upload: string;
  bytes: number;
  /** Of each part but the last. */
  partBytes: number;
  parts: UploadPart[];
};

/** One of the bucket's files in a list. */
export type FileEntry = { name: string; bytes: number; storedMs: number };

/** A page of the files, by name; `next` is the `cursor` of the next one, null on the last. */
export type FilePage = { files: FileEntry[]; next: string | null };

/** Of a file, or of a folder that holds a model. */
export type JobOperation = {
  [Name in keyof typeof JOB_OPTIONS]: {
    operation: Name;
    options?: ValuesOf<(typeof JOB_OPTIONS)[Name]> | undefined;
  };
}[keyof typeof JOB_OPTIONS];

/** A file elsewhere, or a model's directory, which ends with a slash; the token is sent to that host alone. */
export type UrlSource = { url: string; token?: string | undefined };

/** What `POST /v1/jobs` takes: an operation on what is stored. */
export type JobRequest = JobOperation & {
  /** Name of a file, or where there is none of a folder; or a URL. */
  source: string | UrlSource;
  /** Name of the file or folder that it shall become; unless told, the job's id and a file's extension. */
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
  /** Whether the result is a folder. */
  isFolder: boolean;
  operation: JobOperation["operation"];
  /** Of the source, read so far and in all; null until a URL has answered. */
  inputBytes: number;
  totalInputBytes: number | null;
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
  /** Files of a folder's weights that were not read: another form of them, or none of the model's. */
  leftOut: string[];
  /** What a loader asks for and the folder has not: config.json. */
  missing: string[];
  /** The latest lines. */
  log: { timeMs: number; text: string }[];
};

/** What `GET /v1/jobs` answers: the newest first. */
export type JobPage = {
  jobs: JobSummary[];
  /** The `cursor` of the page behind this one; null when there is none. */
  next: string | null;
};
