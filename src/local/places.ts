/** Where this code lies: in a clone of the repository, or in a package, where it is bundled. */
import { resolve } from "node:path";

export const IS_CLONE = import.meta.filename.endsWith(".ts");

/** What holds wrangler.toml, `build/` and `public/`. A package's bundles lie as deep as these sources. */
export const PACKAGE_ROOT = resolve(import.meta.dirname, "../..");

/** Where local commands keep what they make, unless told otherwise: the clone, or the folder of the call. */
export const STATE_FOLDER = resolve(
  IS_CLONE ? PACKAGE_ROOT : "",
  ".mxfp4-edge",
);
