/**
 * Five steps of Muon on three matrices against PyTorch's, in f64 (test/fixtures/muon.py): the twin exactly, and
 * the kernels, whose Newton–Schulz runs on integers of 6 bits, as near as those allow.
 */
import { describe, expect, it } from "vitest";
import { updateMatrix } from "../../src/training/optimizer.ts";
import { nesterov } from "../../src/kernels/vector.ts";
import { muon } from "../reference/muon.ts";
import { singularValues } from "../reference/newton-schulz.ts";
import { Golden } from "../support/golden.ts";
import { arena } from "../support/kernels-node.ts";
import { normals } from "../support/random.ts";

const golden = new Golden("muon.safetensors");
const steps = golden.number("steps");
const momentum = golden.number("momentum");
const weightDecay = golden.number("weight_decay");
const rateAt = (step: number) => golden.number("rate") * (1 - step / steps);

/** Initial parameters, gradients, and what PyTorch ends with. */
function caseOf(name: string) {
  const [rows, columns, sideBySide, seed] = golden.metadata
    .get(name)!
    .split(" ")
    .map(Number) as [number, number, number, number];
  const draw = (k: number) => normals(rows * columns, seed + k);
  const lasting = draw(100);
  return {
    shape: [rows, columns] as const,
    sideBySide,
    initial: Float64Array.from(draw(0), (value) => 0.02 * value),
    gradient: (step: number) =>
      Float64Array.from(draw(1 + step), (value, i) => value + lasting[i]!),
    final: golden.f32(`final.${name}`),
    finalMomentum: golden.f32(`momentum.${name}`),
  };
}

/** ‖a − b‖ / ‖b − from‖: the error, of how far a trajectory has gone. */
function error(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  from: ArrayLike<number>,
): number {
  let [off, way] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    off += (a[i]! - b[i]!) ** 2;
    way += (b[i]! - from[i]!) ** 2;
  }
  return Math.sqrt(off / way);
}

describe.each(["wide", "tall", "three"])("%s", (name) => {
  const layout = "in-out" as const;
  const { shape, sideBySide, initial, gradient, final, finalMomentum } =
    caseOf(name);
  const { length } = initial;
  const zeros = new Float64Array(length);

  it("the twin is PyTorch's Muon, to the rounding of f32", () => {
    const [weight, m] = [initial.slice(), new Float64Array(length)];
    for (let step = 0; step < steps; step++) {
      const rate = rateAt(step);
      const options = { momentum, rate, weightDecay, sideBySide };
      muon(weight, m, gradient(step), shape, options);
    }
    expect(error(m, finalMomentum, zeros)).toBeLessThan(1e-7);
    expect(error(weight, final, initial)).toBeLessThan(1e-6);
  });

  it("the kernels end within what 6 bits allow of it", () => {
    const { weight, m } = arena.scope(() => {
      const parameters = arena.copyIn(Float32Array.from(initial));
      const mAt = arena.copyIn(new Float32Array(length));
      const direction = arena.allocF32(length);
      for (let step = 0; step < steps; step++) {
        arena.scope(() => {
          const g = arena.copyIn(Float32Array.from(gradient(step)));
          nesterov(direction, mAt, g, length, momentum);
          const tensor = { shape: [...shape], layout, sideBySide };
          const rate = rateAt(step);
          updateMatrix(tensor, parameters, direction, rate, weightDecay);
        });
      }
      return {
        weight: arena.f32(parameters, length).slice(),
        m: arena.f32(mAt, length).slice(),
      };
    });
    expect(error(m, finalMomentum, zeros)).toBeLessThan(1e-6);
    // 0.022 of matrices of 64 × 128, 0.042 of squares, whose least singular values
    // three steps do not bring up.
    expect(error(weight, final, initial)).toBeLessThan(0.06);
  });

  it("a matrix that lies transposed is updated to the transposed, to the bit", () => {
    if (sideBySide > 1) return; // only a matrix alone has another layout
    const [rows, columns] = shape;
    const turned = (x: Float32Array, height: number, width: number) =>
      x.map((_, at) => x[(at % height) * width + Math.floor(at / height)]!);
    const updated = (
      x: Float32Array,
      by: Float32Array,
      tensor: Parameters<typeof updateMatrix>[0],
    ) =>
      arena.scope(() => {
        const parameters = arena.copyIn(x);
        updateMatrix(tensor, parameters, arena.copyIn(by), 0.1, 0.5);
        return arena.f32(parameters, length).slice();
      });
    const [x, by] = [initial, gradient(0)].map((each) =>
      Float32Array.from(each),
    ) as [Float32Array, Float32Array];
    const plain = updated(x, by, { shape: [...shape], layout, sideBySide });
    const other = updated(turned(x, rows, columns), turned(by, rows, columns), {
      shape: [columns, rows],
      layout: "out-in",
      sideBySide,
    });
    expect(turned(other, columns, rows)).toEqual(plain);
  });

  it("an update is near to orthogonal", () => {
    const [rows, columns] = shape;
    const update = arena.scope(() => {
      const parameters = arena.copyIn(new Float32Array(length));
      const direction = arena.copyIn(Float32Array.from(gradient(0)));
      updateMatrix(
        { shape: [...shape], layout, sideBySide },
        parameters,
        direction,
        1,
        0,
      );
      return arena.f32(parameters, length).slice();
    });
    const wide = columns / sideBySide;
    const size = Math.sqrt(Math.max(1, wide / rows));
    for (let part = 0; part < sideBySide; part++) {
      const own = Array.from(
        { length: rows * wide },
        (_, k) =>
          update[Math.floor(k / wide) * columns + part * wide + (k % wide)]! /
          size,
      );
      const [m, n] = rows > wide ? [wide, rows] : [rows, wide];
      const lying =
        rows > wide
          ? own.map((_, k) => own[(k % n) * wide + Math.floor(k / n)]!)
          : own;
      const values = singularValues(lying, m, n);
      expect(values.at(-1)).toBeLessThan(1.25);
      // Of a square matrix of draws some are near 0; the middle one is not.
      expect(values[Math.floor(m / 2)]).toBeGreaterThan(0.66);
    }
  });
});
