/** The block formats by name. A new one is an entry here, and its layouts in block-layouts.ts. */
import { AppError } from "../../api/errors.ts";
import type { FormatName, Scheme } from "../../api/scheme.ts";
import type { BlockFormat } from "./block-format.ts";
import { MXFP4 } from "./mxfp4.ts";
import { mxfp8 } from "./mxfp8.ts";

export const BLOCK_FORMATS: Record<FormatName, BlockFormat> = {
  mxfp4: MXFP4,
  "mxfp8-e4m3": mxfp8("e4m3", 448),
  "mxfp8-e5m2": mxfp8("e5m2", 57344),
};

/** Errors: `invalid_option` for a choice that the scheme's format or rounding does not support */
export function checkScheme(scheme: Scheme): void {
  if (scheme.scale === "mse" && scheme.rounding === "stochastic")
    throw new AppError(
      "invalid_option",
      "Expected another scale rule, such as scale=rceil, for rounding=stochastic, got mse, which minimizes the error of rounding to nearest",
    );
  const refusal = BLOCK_FORMATS[scheme.format].refusal(scheme);
  if (refusal === undefined) return;
  const [expected, got] = refusal;
  throw new AppError(
    "invalid_option",
    `Expected ${expected} for ${scheme.format}, got ${got}`,
  );
}
