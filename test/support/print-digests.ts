/** Prints what `computeDigests` gives on the kernels as Node loads them, as JSON. */
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { computeDigests } from "./same-bytes.ts";

loadKernelsFile();
console.log(JSON.stringify(await computeDigests()));
