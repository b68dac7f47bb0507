/** Reads environment variables, and checks tokens. */
import { UsageError } from "./file-arguments.ts";

const TOKEN = /^[\x21-\x7e]+$/;

/**
 * A variable of this project; undefined if unset. Empty is refused: a script that failed to fill it in would open an
 * edge, or use the wrong one. Errors: `UsageError`
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

/** Checks that a header can carry the token; `place`: where it was given. Errors: `UsageError` */
export function checkBearer(place: string, token: string): string {
  if (TOKEN.test(token)) return token;
  throw new UsageError(
    `Expected ${place} to be printable ASCII characters without spaces, got others`,
  );
}
