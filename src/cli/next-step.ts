/** What a user can do about an error that is not a usage error: a line, or undefined if unknown. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import { BrokenOff, Unanswered } from "../client/broken-off.ts";
import { called } from "./called.ts";

const STEPS: Partial<Record<ErrorCode, () => string>> = {
  unauthorized: () =>
    "Pass the edge's API_TOKEN, or a run's join token, as --token or in $MXFP4_EDGE_TOKEN",
  forbidden: () =>
    "This token does not allow that: pass the edge's API_TOKEN, as --token or in $MXFP4_EDGE_TOKEN",
  run_not_found: () => `\`${called("runs")}\` lists the runs of an edge`,
  token_not_found: () => `\`${called("tokens", "RUN")}\` lists a run's tokens`,
  body_too_large: () =>
    `\`${called("upload", "FILE")}\` uploads it to the edge's files, in parts`,
  nothing_to_convert: () =>
    `\`${called("inspect", "PATH")}\` shows what it contains, and which loaders can use it`,
  nonfinite_value: () =>
    "--nonfinite keep accepts such values, and prints a line for each tensor that has some",
  unavailable: () => "The edge cannot do this at the moment: try again later",
  overloaded: () => "The edge is busy: try again later",
  state_version: () =>
    "The state was written by another release: use that release, or another --state",
};

const ASK_AGAIN =
  "The edge or the connection failed during the response: repeat the command";

/** An error with its own remedy. */
export class Remedied extends AppError {
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, remedy: string) {
    super(code, message);
    this.remedy = remedy;
  }
}

export function nextStep(error: unknown): string | undefined {
  if (error instanceof Remedied) return error.remedy;
  if (error instanceof BrokenOff) return ASK_AGAIN;
  if (error instanceof Unanswered)
    return `No edge answers there: start one on this machine with \`${called("serve")}\`, or name another with --url or $MXFP4_EDGE_URL`;
  if (error instanceof AppError) return STEPS[error.code]?.();
  return undefined;
}
