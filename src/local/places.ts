/** Where this code is: in a clone of the repository, or bundled in a package. */
import { resolve } from "node:path";

export const IS_CLONE = import.meta.filename.endsWith(".ts");

/**
 * The folder with wrangler.toml, `build/` and `public/`. A package's bundles are at the same depth as these sources.
 */
export const PACKAGE_ROOT = resolve(import.meta.dirname, "../..");

/** Default for the output of local commands: in the clone, or in the working directory. */
export const STATE_FOLDER = resolve(
  IS_CLONE ? PACKAGE_ROOT : "",
  ".mxfp4-edge",
);
