import "../support/kernels.ts";
import { describe, expect, it } from "vitest";
import { checkShape, checkTrainingShape } from "../../src/model/gpt2/config.ts";
import { parameterTable } from "../../src/model/gpt2/parameters.ts";
import {
  initialParameters,
  paddingRanges,
} from "../../src/model/parameters.ts";

const shape = { layers: 2, width: 20, heads: 5, context: 7, vocabulary: 13 };
const table = parameterTable(shape);

describe("parameter table", () => {
  it("gives every tensor its own 64-element slots, in order; matrices and embeddings whole chunks", () => {
    let end = 0;
    let before = "";
    for (const { group, offset, length, shape: sizes } of table.tensors) {
      const unit = group !== "vector" || before !== "vector" ? 4096 : 64;
      before = group;
      expect(offset).toBe(Math.ceil(end / unit) * unit);
      expect(length).toBe(sizes.reduce((a, b) => a * b, 1));
      end = offset + length;
    }
    expect(table.length).toBe(Math.ceil(end / 64) * 64);
    expect(table.tensors.length).toBe(2 + 12 * shape.layers + 2);
  });

  it("has matrices first, then embeddings, then vectors", () => {
    const groups = table.tensors.map(({ group }) => group);
    expect(groups).toEqual([
      ...Array.from({ length: 4 * shape.layers }, () => "matrix"),
      "embedding",
      "embedding",
      ...Array.from({ length: 8 * shape.layers + 2 }, () => "vector"),
    ]);
    for (const { group, shape: sizes } of table.tensors) {
      expect(sizes.length).toBe(group === "vector" ? 1 : 2);
    }
  });

  it("names the padding of any range, and nothing else", () => {
    const used = new Uint8Array(table.length);
    for (const { offset, length } of table.tensors) {
      used.fill(1, offset, offset + length);
    }
    for (const [start, length] of [
      [0, table.length],
      [1, 63],
      [250, 300],
      [table.length - 5, 5],
    ]) {
      const marked = used.slice(start, start + length);
      for (const range of paddingRanges(table, start, length)) {
        expect(range.start + range.length).toBeLessThanOrEqual(length);
        const part = marked.subarray(range.start, range.start + range.length);
        expect(part.every((value) => value === 0)).toBe(true);
        part.fill(1);
      }
      expect(marked.every((value) => value === 1)).toBe(true);
    }
  });
});

describe("initial parameters", () => {
  const whole = initialParameters(table, 5, 0, table.length);

  it("are the same for any cut into ranges", () => {
    for (const size of [64, 100, 777]) {
      for (let start = 0; start < table.length; start += size) {
        const length = Math.min(size, table.length - start);
        const part = initialParameters(table, 5, start, length);
        expect(part).toEqual(whole.subarray(start, start + length));
      }
    }
  });

  it("have GPT-2's deviations, ones, zeros, and zero padding", () => {
    const wide = parameterTable({ ...shape, width: 100, vocabulary: 256 });
    const values = initialParameters(wide, 5, 0, wide.length);
    for (const { name, offset, length } of wide.tensors) {
      const tensor = values.subarray(offset, offset + length);
      if (name.endsWith(".bias")) {
        expect(tensor.every((value) => value === 0)).toBe(true);
      } else if (name.includes("ln_")) {
        expect(tensor.every((value) => value === 1)).toBe(true);
      } else {
        const deviation = name.endsWith("c_proj.weight") ? 0.01 : 0.02;
        const square = tensor.reduce((sum, x) => sum + x * x, 0) / length;
        // The deviation of a sample's deviation is 1 / √(2n); allow 4 of them.
        const error = Math.sqrt(square) / deviation - 1;
        expect(Math.abs(error)).toBeLessThan(4 / Math.sqrt(2 * length));
      }
    }
    for (const { start, length } of paddingRanges(wide, 0, wide.length)) {
      const padding = values.subarray(start, start + length);
      expect(padding.every((value) => value === 0)).toBe(true);
    }
  });

  it("differ between seeds and between tensors", () => {
    expect(initialParameters(table, 6, 0, 64)).not.toEqual(whole.slice(0, 64));
    const first = table.tensors.map(({ offset }) => whole[offset]);
    const drawn = first.filter((value) => value !== 0 && value !== 1);
    expect(new Set(drawn).size).toBe(drawn.length);
  });
});

describe("shape checks", () => {
  it("refuse what cannot be, with what was expected and what came", () => {
    expect(() => checkShape({ ...shape, heads: 3 })).toThrow(
      "Expected `width` to be a multiple of `heads` (3), got 20",
    );
    expect(() => checkShape({ ...shape, layers: 0 })).toThrow(
      "Expected `layers` to be a whole number from 1, got 0",
    );
    expect(() => checkShape({ ...shape, context: 1.5 })).toThrow(
      "Expected `context` to be a whole number from 1, got 1.5",
    );
  });

  it("refuse training unless width and tokens are multiples of 64", () => {
    const trained = { ...shape, width: 64, heads: 2, context: 32 };
    expect(() => checkTrainingShape(trained, 2)).not.toThrow();
    expect(() => checkTrainingShape(trained, 1)).toThrow(
      "Expected the tokens of a microbatch to be a multiple of 64, got 1 sequences of 32 = 32",
    );
    expect(() => checkTrainingShape({ ...trained, width: 96 }, 2)).toThrow(
      "Expected `width` to be a multiple of 64, got 96",
    );
    expect(() => checkTrainingShape(trained, 0)).toThrow(
      "Expected `sequences` to be a whole number from 1, got 0",
    );
  });
});
