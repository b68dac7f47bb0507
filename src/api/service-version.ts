/** The JSON of `GET /version`. */

export type ServiceVersion = {
  /** Of the package. */
  version: string;
  /** Of the frames between trainers and shards. */
  frame: number;
  /** Of the record in quantized files. */
  record: string;
  /** What a run's bytes depend on besides its config; equal for all its trainers. */
  fingerprint: string;
  kernels: { arithmetic: number; fusesMultiplyAdd: boolean };
  mode: "local" | "deployed";
  /** Who may use the service: everyone, holders of a token, or nobody since no secret is set. */
  access: "all" | "token" | "nobody";
};
