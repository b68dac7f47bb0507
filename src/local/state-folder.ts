import { resolve } from "node:path";

/** Where local commands keep what they make, unless told otherwise. */
export const STATE_FOLDER = resolve(import.meta.dirname, "../../.mxfp4-edge");
