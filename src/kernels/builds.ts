/** What each build of the kernels requires, for errors: the feature, and the browsers that have it. */
export const BUILDS = {
  /** The quantizers, which also run in older browsers. */
  "kernels-files.wasm":
    "WebAssembly SIMD, as Chromium has since 91, Firefox since 89 and Safari since 16.4",
  /** All kernels; the same file as in this server's Worker. */
  "kernels.wasm":
    "WebAssembly's relaxed SIMD, as Chromium has since 114 and Firefox since 145; `mxfp4-edge join` trains without a browser",
};

/** The types for Workers do not declare `validate`. */
const { validate } = WebAssembly as unknown as {
  validate: (this: void, bytes: Uint8Array) => boolean;
};

/** Whether this machine supports the features of this module. */
export function isRunnable(bytes: Uint8Array): boolean {
  return validate(bytes);
}
