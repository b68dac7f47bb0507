/** What each build of the kernels asks of a browser, and who has it. */
export const BUILDS = {
  /** The quantizers, which run in browsers of some years. */
  "kernels-files.wasm":
    "WebAssembly SIMD, as Chromium has since 91, Firefox since 89 and Safari since 16.4",
  /** All of them: the bytes that the Worker of this server has. */
  "kernels.wasm":
    "WebAssembly's relaxed SIMD, as Chromium has since 114 and Firefox since 145; `mxfp4-edge join` trains without a browser",
};

/** Workers' types declare no `validate`. */
const { validate } = WebAssembly as unknown as {
  validate: (this: void, bytes: Uint8Array) => boolean;
};

/** Whether this machine has what the kernels of these bytes ask for. */
export function isRunnable(bytes: Uint8Array): boolean {
  return validate(bytes);
}
