/** Slow twin of Muon's update of a matrix, in f64. */
import { newtonSchulz } from "./newton-schulz.ts";

export type MuonStep = {
  momentum: number;
  rate: number;
  weightDecay: number;
  /** Matrices that stand side by side, each orthogonalized apart. */
  sideBySide: number;
};

/** W [rows, columns] = [in, out] and its momentum after one step, in place. */
export function muon(
  weight: Float64Array,
  momentum: Float64Array,
  gradient: ArrayLike<number>,
  [rows, columns]: readonly [number, number],
  step: MuonStep,
): void {
  const direction = momentum.map((m, i) => {
    momentum[i] = step.momentum * m + gradient[i]!;
    return gradient[i]! + step.momentum * momentum[i]!;
  });
  const wide = columns / step.sideBySide;
  const size = step.rate * Math.sqrt(Math.max(1, wide / rows));
  for (let part = 0; part < step.sideBySide; part++) {
    const at = (i: number, j: number) => i * columns + part * wide + j;
    // Newton–Schulz wants no more rows than columns.
    const isTall = rows > wide;
    const [m, n] = isTall ? [wide, rows] : [rows, wide];
    const place = (i: number, j: number) => (isTall ? at(j, i) : at(i, j));
    const own = Float64Array.from(
      { length: m * n },
      (_, k) => direction[place(Math.floor(k / n), k % n)]!,
    );
    for (const [k, value] of newtonSchulz(own, m, n).entries()) {
      const to = place(Math.floor(k / n), k % n);
      weight[to] =
        (1 - step.rate * step.weightDecay) * weight[to]! - size * value;
    }
  }
}
