/** All layers besides the matrix products, by one name. */
export * from "../../src/kernels/attention.ts";
export * from "../../src/kernels/cross-entropy.ts";
export * from "../../src/kernels/elementwise.ts";
export * from "../../src/kernels/embedding.ts";
export * from "../../src/kernels/norms.ts";
