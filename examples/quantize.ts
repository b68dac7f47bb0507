/**
 * The same file by an edge and in this process, to the same bytes.
 *
 * Needs the package (`npm install mxfp4-edge`) and an edge: `npm start`, or its URL in MXFP4_EDGE_URL.
 */
import { AppError, Mxfp4Edge } from "mxfp4-edge/client";
import { quantize } from "mxfp4-edge";

const edge = new Mxfp4Edge({
  baseUrl: process.env.MXFP4_EDGE_URL ?? "http://127.0.0.1:8787",
  token: process.env.MXFP4_EDGE_TOKEN,
});

const values = Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i));
const body = new Uint8Array(values.buffer);
const raw = { dtype: "f32", shape: [64, 64] } as const;

const paper = {
  rounding: "stochastic",
  scale: "floor",
  prescale: 0.75,
  hadamard: 64,
  seed: 1,
  raw,
} as const;
const there = await (await edge.quantize(body, paper)).bytes();
const here = await (await quantize(body, paper)).bytes();
console.log(
  `${there.length} bytes, the same here: ${Buffer.compare(there, here) === 0}`,
);

const { total } = await edge.analyze(body, { raw, compare: ["all"] });
for (const { scheme, sqnrDb } of total.schemes) {
  console.log(`${scheme.padEnd(20)} ${sqnrDb?.toFixed(2)} dB`);
}
console.log(`recommended: ${total.recommended}`);

try {
  await edge.dequantize(body);
} catch (error) {
  if (error instanceof AppError) console.log(`refused: ${error.code}`);
}
