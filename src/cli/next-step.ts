/** What a person may do about an error that is none of the call: a line, or nothing where nobody knows. */
import { AppError, type ErrorCode } from "../api/errors.ts";
import { BrokenOff, Unanswered } from "../client/broken-off.ts";
import { called } from "./called.ts";

const STEPS: Partial<Record<ErrorCode, () => string>> = {
  unauthorized: () =>
    "Give the edge's API_TOKEN, or a run's join token, as --token or in $MXFP4_EDGE_TOKEN",
  forbidden: () =>
    "This token may not do that: the edge's own API_TOKEN may, as --token or in $MXFP4_EDGE_TOKEN",
  run_not_found: () => `\`${called("runs")}\` lists the runs of an edge`,
  token_not_found: () => `\`${called("tokens", "RUN")}\` lists a run's tokens`,
  body_too_large: () =>
    `\`${called("upload", "FILE")}\` puts it into the edge's files, in parts`,
  nothing_to_convert: () =>
    `\`${called("inspect", "PATH")}\` tells what is in it, and which loaders take it`,
  nonfinite_value: () =>
    "--nonfinite keep lets such values be; a line tells of each tensor that has some",
  unavailable: () => "The edge cannot do it at present: try again in a while",
  overloaded: () => "The edge's memory is in use: try again in a while",
  state_version: () =>
    "The state is of another release: use that one, or another --state",
};

const ASK_AGAIN =
  "The edge, or the way to it, failed amid the answer: call it again";

/** One that brings what may be done about it. */
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
    return `Nothing answers there: \`${called("serve")}\` serves on this machine, --url or $MXFP4_EDGE_URL names another edge`;
  if (error instanceof AppError) return STEPS[error.code]?.();
  return undefined;
}
