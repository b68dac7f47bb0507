import { arena } from "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import {
  attentionBackward,
  attentionForward,
} from "../../src/kernels/attention.ts";
import * as twin from "../reference/layers.ts";
import { expectClose, F32_EPSILON } from "../support/close.ts";
import { normals } from "../support/random.ts";

function run(
  qkv: Float32Array,
  dOut: Float32Array,
  { sequences, length, ...cut }: twin.AttentionShape,
) {
  const { heads } = cut;
  const shape = { sequences, length };
  return arena.scope(() => {
    const source = arena.copyIn(qkv);
    const out = arena.allocF32(dOut.length);
    const totals = arena.allocF32(sequences * heads * length);
    attentionForward(out, totals, source, shape, cut);
    const dQkv = arena.copyIn(new Float32Array(qkv.length).fill(9));
    const dOutput = arena.copyIn(dOut);
    attentionBackward(dQkv, dOutput, source, totals, shape, cut);
    return {
      out: arena.f32(out, dOut.length).slice(),
      logSumExp: arena.f32(totals, sequences * heads * length).slice(),
      dQkv: arena.f32(dQkv, qkv.length).slice(),
    };
  });
}

function inputs(shape: twin.AttentionShape, size = 1) {
  const { sequences, length, heads, groups, headWidth } = shape;
  const values = sequences * length * headWidth;
  const qkv = normals((heads + 2 * groups) * values, length);
  return {
    qkv: qkv.map((value) => size * value),
    dOut: normals(heads * values, headWidth),
  };
}

describe("attention", () => {
  // Scores reach about 10; exp multiplies their rounding error, the backward pass sums T of them.
  const tolerance = (length: number) => 256 * F32_EPSILON * (1 + length / 16);

  it("equals its twin forward and backward at odd sizes", () => {
    for (const length of [1, 2, 3, 5, 7, 8, 15, 17, 33, 63, 64, 65, 130]) {
      for (const [heads, groups, headWidth] of [
        [1, 1, 1],
        [3, 3, 5],
        [2, 2, 8],
        [1, 1, 17],
        [4, 2, 6],
        [6, 2, 3],
        [3, 1, 5],
      ]) {
        const shape = { sequences: 2, length, heads, groups, headWidth };
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
    const sizes = { sequences: 1, length: 70 };
    const shape = { ...sizes, heads: 1, groups: 1, headWidth: 16 };
    const { qkv, dOut } = inputs(shape, 5);
    const got = run(qkv, dOut, shape);
    // Scores reach 300 and so does their error; so do the gradients' factors.
    const wide = 300 * tolerance(70);
    expectClose(got.out, twin.attentionForward(qkv, shape).out, wide);
    expectClose(got.dQkv, twin.attentionBackward(dOut, qkv, shape), wide);
  });

  it("does not see later tokens", () => {
    const sizes = { sequences: 1, length: 130 };
    const shape = { ...sizes, heads: 2, groups: 2, headWidth: 8 };
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
    const sizes = { sequences: 2, length: 9 };
    const shape = { ...sizes, heads: 2, groups: 2, headWidth: 4 };
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

  it("refuses heads that groups do not share evenly", () => {
    const sizes = { sequences: 1, length: 2 };
    const shape = { ...sizes, heads: 3, groups: 2, headWidth: 4 };
    const { qkv, dOut } = inputs(shape);
    expect(() => run(qkv, dOut, shape)).toThrow(
      "Expected `heads` to be a multiple of 2, got 3",
    );
  });
});
