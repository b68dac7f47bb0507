/** The debug build: its assertions hold while a model trains, and stop what breaks a kernel's contract. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RECIPES } from "../../src/api/recipe.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { lossAndGradient } from "../../src/model/gpt.ts";
import {
  initialParameters,
  parameterTable,
} from "../../src/model/parameters.ts";

const { arena, exports } = loadKernelsFile(
  join(import.meta.dirname, "../../build/kernels-debug.wasm"),
);

test.each(RECIPES)(
  "no assertion fails in a training step of recipe %s",
  (recipe) => {
    const shape = {
      layers: 1,
      width: 64,
      heads: 2,
      context: 64,
      vocabulary: 97,
    };
    const table = parameterTable(shape);
    const tokens = Int32Array.from({ length: 128 }, (_, i) => (i * 31) % 97);
    const batch = {
      sequences: 2,
      tokens,
      targets: tokens.map((token) => (token + 1) % 97),
    };
    const loss = arena.scope(() => {
      const parameters = arena.copyIn(
        initialParameters(table, 1, 0, table.length),
      );
      const gradient = arena.allocF32(table.length);
      return lossAndGradient(shape, recipe, parameters, gradient, batch, {
        seed: 1,
        step: 0,
        microbatch: 0,
      });
    });
    expect(loss.lossSum / loss.tokens).toBeCloseTo(Math.log(97), 0);
  },
);

describe("an assertion stops", () => {
  const at = 1 << 16; // beyond the kernels' own tables; the calls must not get to it
  test.each<[string, () => void]>([
    [
      "a length that is not whole blocks",
      () => exports.quantizeNearestMxfp4(at, at, at, 33, 0, 0, 1, 0),
    ],
    [
      "a misaligned input",
      () =>
        exports.quantizeStochasticMxfp4(at, at, at + 4, 32, 0, 1, 0, 0, 0, 0),
    ],
    [
      "half a block to decode",
      () => exports.dequantizeMxfp4(at, at, at, 16, 1),
    ],
    ["half a segment to rotate", () => exports.hadamardF32(at, 96, 64, at, at)],
    [
      "k that is not whole blocks",
      () => exports.gemmMxfp4(at, at, at, 1, 1, 33, 1, 0),
    ],
    [
      "two strides in a packed operand",
      () => exports.packMxfp4(at, at, 4, 64, 2, 3, 0, 0, 0, 0, 0, at),
    ],
    [
      "a strip of another width",
      () => exports.packF32(at, at, 4, 4, 4, 1, 5, 0),
    ],
  ])("%s", (_, call) => {
    expect(call).toThrow("A kernel's assertion failed at line");
  });
});
