/**
 * The same file by an edge and in this process, to the same bytes.
 *
 * Needs the package (`npm run pack` prints its path; copy this file to a folder of its own, and `npm i PATH` there) and
 * an edge: `npm start`, or its URL in MXFP4_EDGE_URL (and MXFP4_EDGE_TOKEN where it asks for one).
 */
import { AppError, Mxfp4Edge } from "mxfp4-edge/client";
import { quantize } from "mxfp4-edge";

const edge = new Mxfp4Edge({
  baseUrl: process.env.MXFP4_EDGE_URL ?? "http://127.0.0.1:8787",
  token: process.env.MXFP4_EDGE_TOKEN,
});

const values = Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i));
const raw = { dtype: "f32", shape: [64, 64] };

const paper = { preset: "paper", seed: 1, raw };
const there = await (await edge.quantize(values, paper)).arrayBuffer();
const here = await (await quantize(values, paper)).arrayBuffer();
const isSame = Buffer.compare(Buffer.from(there), Buffer.from(here)) === 0;
console.log(`${there.byteLength} bytes, the same here: ${isSame}`);

const { total } = await edge.analyze(values, { raw, compare: ["all"] });
for (const { scheme, sqnrDb } of total.schemes) {
  console.log(`${scheme.padEnd(20)} ${sqnrDb?.toFixed(2)} dB`);
}
console.log(`recommended: ${total.recommended}`);

try {
  await edge.dequantize(values);
} catch (error) {
  if (error instanceof AppError) console.log(`refused: ${error.code}`);
}
