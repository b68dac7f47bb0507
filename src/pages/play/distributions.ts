/**
 * Random tensors of known distributions, the same on every machine: the kernels' random numbers and exact arithmetic.
 */
import { writeHead } from "../../formats/containers/safetensors-writer.ts";
import { noiseKey, PURPOSE } from "../../kernels/noise.ts";
import { kernels } from "../../kernels/runtime.ts";
import { drawNormal } from "../../kernels/vector.ts";

/** One in `every` is multiplied by `times`. */
const OUTLIERS = { every: 64, times: 16 };

type Normals = (draw: number) => Float32Array;

export const DISTRIBUTIONS = {
  normal: { title: "normal", make: (normals: Normals) => normals(0) },
  outliers: {
    title: `normal, one in ${OUTLIERS.every} of them ${OUTLIERS.times} times as large`,
    make: (normals: Normals) =>
      normals(0).map((x, i) =>
        (i * 37) % OUTLIERS.every === 5 ? OUTLIERS.times * x : x,
      ),
  },
  heavy: {
    title: "heavy tails: the product of three normals",
    make(normals: Normals) {
      const [a, b, c] = [normals(0), normals(1), normals(2)];
      return a.map((x, i) => Math.fround(Math.fround(x * b[i]!) * c[i]!));
    },
  },
  shifted: {
    title: "normal, with a mean of 2",
    make: (normals: Normals) => normals(0).map((x) => x + 2),
  },
} as const;
export type DistributionName = keyof typeof DISTRIBUTIONS;

export type Draws = {
  distribution: DistributionName;
  rows: number;
  columns: number;
  seed: number;
};

/** A safetensors file with one tensor `x`. */
export function drawnFile({ distribution, rows, columns, seed }: Draws): Blob {
  const length = rows * columns;
  const { arena } = kernels();
  const normals: Normals = (draw) =>
    arena.scope(() => {
      const out = arena.allocF32(length);
      const key = noiseKey(seed, PURPOSE.initialParameters, draw);
      drawNormal(out, length, 1, key, 0);
      return arena.f32(out, length).slice();
    });
  const values = DISTRIBUTIONS[distribution].make(normals);
  const { head } = writeHead(
    [{ name: "x", dtype: "F32", shape: [rows, columns] }],
    new Map(),
  );
  return new Blob([head, values as Float32Array<ArrayBuffer>]);
}
