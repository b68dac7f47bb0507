/** The JSON of what answers. */

/** What answers: `GET /version`. */
export type ServiceVersion = {
  /** Of the package. */
  version: string;
  /** Of the frames that trainers and shards exchange. */
  frame: number;
  /** Of the choices that quantized files record. */
  record: string;
  /** What the bytes of a run depend on besides its config; its trainers share it. */
  fingerprint: string;
  kernels: { arithmetic: number; fusesMultiplyAdd: boolean };
  mode: "local" | "deployed";
  /** Who is let in: all, who has a token, or nobody since no secret is set. */
  access: "all" | "token" | "nobody";
};
