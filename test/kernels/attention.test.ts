import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  attentionBackward,
  attentionForward,
} from "../../src/kernels/layers.ts";
import * as twin from "../reference/layers.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { normals } from "../support/random.ts";

function run(
  qkv: Float32Array,
  dOut: Float32Array,
  { sequences, length, heads, headWidth }: twin.AttentionShape,
) {
  const width = heads * headWidth;
  const shape = { sequences, length, width };
  return arena.scope(() => {
    const source = arena.copyIn(qkv);
    const out = arena.allocF32(dOut.length);
    const totals = arena.allocF32(sequences * heads * length);
    attentionForward(out, totals, source, shape, heads);
    const dQkv = arena.copyIn(new Float32Array(qkv.length).fill(9));
    const dOutput = arena.copyIn(dOut);
    attentionBackward(dQkv, dOutput, source, totals, shape, heads);
    return {
      out: arena.f32(out, dOut.length).slice(),
      logSumExp: arena.f32(totals, sequences * heads * length).slice(),
      dQkv: arena.f32(dQkv, qkv.length).slice(),
    };
  });
}

function inputs(shape: twin.AttentionShape, size = 1) {
  const { sequences, length, heads, headWidth } = shape;
  const values = sequences * length * heads * headWidth;
  return {
    qkv: normals(3 * values, length).map((value) => size * value),
    dOut: normals(values, headWidth),
  };
}

describe("attention", () => {
  // Scores reach about 10; exp multiplies their rounding error, the backward pass sums T of them.
  const tolerance = (length: number) => 256 * F32_EPSILON * (1 + length / 16);

  it("equals its twin forward and backward at odd sizes", () => {
    for (const length of [1, 2, 3, 5, 7, 8, 15, 17, 33, 63, 64, 65, 130]) {
      for (const [heads, headWidth] of [
        [1, 1],
        [3, 5],
        [2, 8],
        [1, 17],
      ]) {
        const shape = { sequences: 2, length, heads, headWidth };
        const { qkv, dOut } = inputs(shape);
        const got = run(qkv, dOut, shape);
        const want = twin.attentionForward(qkv, shape);
        expectClose(got.out, want.out, tolerance(length));
        expectClose(got.logSumExp, want.logSumExp, tolerance(length));
        const dQkv = twin.attentionBackward(dOut, qkv, shape);
        expectClose(got.dQkv, dQkv, tolerance(length));
      }
    }
  });

  it("holds when scores are far from 0", () => {
    const shape = { sequences: 1, length: 70, heads: 1, headWidth: 16 };
    const { qkv, dOut } = inputs(shape, 5);
    const got = run(qkv, dOut, shape);
    // Scores reach 300 and so does their error; so do the gradients' factors.
    const wide = 300 * tolerance(70);
    expectClose(got.out, twin.attentionForward(qkv, shape).out, wide);
    expectClose(got.dQkv, twin.attentionBackward(dOut, qkv, shape), wide);
  });

  it("does not see later tokens", () => {
    const shape = { sequences: 1, length: 130, heads: 2, headWidth: 8 };
    const { qkv, dOut } = inputs(shape);
    const before = run(qkv, dOut, shape).out;
    for (const time of [1, 63, 64, 100, 129]) {
      const changed = qkv.slice();
      for (let at = 48 * time; at < 48 * (time + 1); at++) changed[at] += 1;
      const after = run(changed, dOut, shape).out;
      expect(after.subarray(0, 16 * time)).toEqual(
        before.subarray(0, 16 * time),
      );
      expect(after.subarray(16 * time, 16 * time + 16)).not.toEqual(
        before.subarray(16 * time, 16 * time + 16),
      );
    }
  });

  it("lets a NaN reach every later token of its head, and no other head or sequence", () => {
    const shape = { sequences: 2, length: 9, heads: 2, headWidth: 4 };
    const { qkv, dOut } = inputs(shape);
    for (const [part, wantNaN] of [
      [0, 1], // a query: its own row
      [1, 6], // a key: rows 3 … 8
      [2, 6], // a value: rows 3 … 8
    ]) {
      const broken = qkv.slice();
      broken[3 * 24 + part * 8 + 1] = NaN; // sequence 0, token 3, head 0
      const { out, dQkv } = run(broken, dOut, shape);
      let rows = 0;
      for (let row = 0; row < 18; row++) {
        const head0 = out.subarray(8 * row, 8 * row + 4);
        const head1 = out.subarray(8 * row + 4, 8 * row + 8);
        expect(head1.some(Number.isNaN)).toBe(false);
        if (row >= 9) expect(head0.some(Number.isNaN)).toBe(false);
        if (row >= 3 && head0.some(Number.isNaN)) rows++;
      }
      expect(rows).toBe(wantNaN);
      expect(dQkv.some(Number.isNaN)).toBe(true);
      expect(dQkv.subarray(9 * 24).some(Number.isNaN)).toBe(false);
    }
  });
});
