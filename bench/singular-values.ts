/**
 * Prints the table of docs/kernels.md: singular values of orthogonalized normal draws, in brackets with products in f64,
 * and the cosine between the two.
 */
import { loadKernelsFile } from "../src/kernels/load-file.ts";
import { orthogonalize } from "../src/kernels/orthogonalize.ts";
import { kernels } from "../src/kernels/runtime.ts";
import {
  newtonSchulz,
  singularValues,
} from "../test/reference/newton-schulz.ts";
import { normals } from "../test/support/random.ts";

const SHAPES = [
  [64, 192],
  [128, 512],
  [128, 128],
] as const;

loadKernelsFile();
console.log(
  "| matrix | smallest | 10 % | largest | cosine |\n| --- | --- | --- | --- | ---: |",
);
for (const [rows, columns] of SHAPES) {
  const { arena } = kernels();
  const x = normals(rows * columns, 1);
  const result = arena.scope(() => {
    const pointer = arena.copyIn(x);
    orthogonalize(pointer, rows, columns);
    return arena.f32(pointer, x.length).slice();
  });
  const exact = newtonSchulz(x, rows, columns);
  const [own, twin] = [result, exact].map((each) => {
    const values = singularValues(each, rows, columns);
    return [values[0]!, values[Math.floor(rows / 10)]!, values.at(-1)!];
  }) as [number[], number[]];
  const cells = own.map((v, i) => `${v.toFixed(3)} (${twin[i]!.toFixed(3)})`);
  const cosine =
    dot(result, exact) / Math.sqrt(dot(result, result) * dot(exact, exact));
  console.log(
    `| ${rows} × ${columns} | ${cells.join(" | ")} | ${cosine.toFixed(4)} |`,
  );
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0);
}
