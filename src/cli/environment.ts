/** What the environment tells, and who may have told a token. */
import { UsageError } from "./file-arguments.ts";

const TOKEN = /^[\x21-\x7e]+$/;

/**
 * A variable of this project's, undefined where it is not set. An empty one is refused: what a script failed to fill
 * in would open an edge, or ask another.
 * Errors: `UsageError`
 */
export function variable(
  name: "API_TOKEN" | "MXFP4_EDGE_TOKEN" | "MXFP4_EDGE_URL",
): string | undefined {
  const value = process.env[name];
  if (value !== "") return value;
  throw new UsageError(
    `Expected $${name} to have a value or to be unset, got an empty string`,
  );
}

/** As a header can carry it; `place` is where it was told. Errors: `UsageError` */
export function checkBearer(place: string, token: string): string {
  if (TOKEN.test(token)) return token;
  throw new UsageError(
    `Expected ${place} to be printable ASCII characters without spaces, got others`,
  );
}
