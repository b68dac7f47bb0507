/** The debug build: its assertions hold while a model trains, and stop what breaks a kernel's contract. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RECIPE_NAMES, segmentLength } from "../../src/api/recipe.ts";
import { ARCHITECTURES } from "../../src/api/run-config.ts";
import { completeShape } from "../../src/model/architectures.ts";
import { loadKernelsFile } from "../../src/kernels/load-file.ts";
import { lossAndGradient } from "../support/model.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "../support/model.ts";

const { arena, exports } = loadKernelsFile(
  join(import.meta.dirname, "../../build/kernels-debug.wasm"),
);

test.each(
  ARCHITECTURES.flatMap((arch) =>
    RECIPE_NAMES.map((recipe) => [arch, recipe] as const),
  ),
)(
  "no assertion fails in a training step of %s by recipe %s",
  (arch, recipe) => {
    const shape = completeShape({
      arch,
      layers: 1,
      width: Math.max(64, segmentLength(recipe)),
      heads: 2,
      context: 64,
      vocabulary: 97,
      ...(arch === "llama" && { headNorm: true }),
    });
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
      "heads that groups do not share evenly",
      () => exports.attentionForwardF32(at, at, at, at, 1, 2, 3, 2, 4),
    ],
    [
      "their gradient",
      () => exports.attentionBackwardF32(at, at, at, at, at, 1, 2, 3, 2, 4),
    ],
    [
      "rows of RMSNorm that overlap",
      () => exports.rmsNormForwardF32(at, at, at, at, 1, 8, 4, 1),
    ],
    [
      "their gradient's",
      () => exports.rmsNormBackwardF32(at, at, at, at, at, at, 1, 8, 4),
    ],
    [
      "a head that is no pairs",
      () => exports.rotaryForwardF32(at, at, at, 1, 1, 3, 3),
    ],
    [
      "a head's gradient that is no pairs",
      () => exports.rotaryBackwardF32(at, at, at, 1, 1, 3, 3),
    ],
    [
      "rows of gates that overlap",
      () => exports.swigluForwardF32(at, at, at, 1, 8, 4),
    ],
    [
      "rows of gates' gradients that overlap",
      () => exports.swigluBackwardF32(at, at, at, at, at, 1, 8, 4),
    ],
    [
      "a length that is not whole blocks of Q8_0",
      () => exports.quantizeQ8(at, at, 48),
    ],
    [
      "half a block to decode",
      () => exports.dequantizeMxfp4(at, at, at, 16, 1),
    ],
    [
      "a misaligned input to round to nearest",
      () => exports.quantizeNearestMxfp4(at, at, at + 8, 32, 0, 0, 1, 0),
    ],
    [
      "half a segment with a factor",
      () => exports.quantizeEdenMxfp4(at, at, at, at, 32, 0, 0, 0),
    ],
    [
      "a misaligned input with factors",
      () => exports.quantizeEdenMxfp4(at, at, at, at + 8, 64, 0, 0, 0),
    ],
    [
      "half a segment with a factor to decode",
      () => exports.dequantizeEdenMxfp4(at, at, at, at, 96),
    ],
    [
      "a misaligned place for values with factors",
      () => exports.dequantizeEdenMxfp4(at + 4, at, at, at, 64),
    ],
    [
      "half a block to round stochastically",
      () => exports.quantizeStochasticMxfp4(at, at, at, 48, 0, 1, 0, 0, 0, 0),
    ],
    [
      "scales by squares of what is rounded stochastically",
      () => exports.quantizeStochasticMxfp4(at, at, at, 32, 4, 1, 0, 0, 0, 0),
    ],
    [
      "scales by squares of MXFP8 that is rounded stochastically",
      () => exports.quantizeStochasticMxfp8(at, at, at, 32, 0, 4, 0, 0, 0, 0),
    ],
    [
      "a misaligned place for what is decoded",
      () => exports.dequantizeMxfp4(at + 4, at, at, 32, 1),
    ],
    [
      "half a block of MXFP8",
      () => exports.quantizeNearestMxfp8(at, at, at, 48, 0, 0, 0, 0),
    ],
    [
      "misaligned values to be MXFP8",
      () =>
        exports.quantizeStochasticMxfp8(at, at, at + 4, 32, 0, 0, 0, 0, 0, 0),
    ],
    [
      "elements of no type",
      () => exports.quantizeNearestMxfp8(at, at, at, 32, 2, 0, 0, 0),
    ],
    [
      "a tie toward zero of MXFP8",
      () => exports.quantizeNearestMxfp8(at, at, at, 32, 0, 2, 0, 0),
    ],
    [
      "half a block of MXFP8 to decode",
      () => exports.dequantizeMxfp8(at, at, at, 16, 0),
    ],
    [
      "a misaligned place for what MXFP8 decodes to",
      () => exports.dequantizeMxfp8(at + 8, at, at, 32, 0),
    ],
    [
      "elements of no type to decode",
      () => exports.dequantizeMxfp8(at, at, at, 32, 2),
    ],
    ["half a segment to rotate", () => exports.hadamardF32(at, 96, 64, at, at)],
    [
      "a segment of another length",
      () => exports.hadamardF32(at, 96, 48, at, at),
    ],
    [
      "misaligned values to rotate",
      () => exports.hadamardF32(at + 4, 64, 64, at, at),
    ],
    [
      "k that is not whole blocks",
      () => exports.gemmMxfp4(at, at, at, 1, 1, 33, 1, 0),
    ],
    [
      "two strides in a packed operand",
      () => exports.packMxfp4(at, at, 4, 64, 2, 3, 0, 0, 0, 0, 0, 0, at),
    ],
    [
      "k of MXFP4 that is not whole blocks",
      () => exports.packMxfp4(at, at, 4, 48, 1, 4, 0, 0, 0, 0, 0, 0, at),
    ],
    [
      "half a group to rotate",
      () => exports.packMxfp4(at, at, 4, 96, 1, 4, 0, at, 0, 0, 0, 0, at),
    ],
    [
      "a misaligned scratch of MXFP4",
      () => exports.packMxfp4(at, at, 4, 64, 1, 4, 0, 0, 0, 0, 0, 0, at + 4),
    ],
    [
      "k of int6 that is not whole groups",
      () => exports.packInt6(at, at, 4, 96, 1, 4, 0, at),
    ],
    [
      "two strides in a packed operand of int6",
      () => exports.packInt6(at, at, 4, 64, 2, 3, 0, at),
    ],
    [
      "a misaligned scratch of int6",
      () => exports.packInt6(at, at, 4, 64, 1, 4, 0, at + 4),
    ],
    [
      "half a group of int6 to multiply",
      () => exports.gemmInt6(at, at, at, at, 4, 8, 96, 0),
    ],
    [
      "half a tile of int6",
      () => exports.gemmInt6(at, at, at, at, 4, 12, 64, 0),
    ],
    [
      "half a strip of int6 to add to",
      () => exports.gemmOntoInt6(at, at, at, at, at, 6, 8, 64, 0),
    ],
    [
      "half a tile of int6 to add to",
      () => exports.gemmOntoInt6(at, at, at, at, at, 4, 12, 64, 0),
    ],
    ["half a pair of strips of int6", () => exports.repackInt6(at, at, 4, 64)],
    ["half a group of int6 to repack", () => exports.repackInt6(at, at, 8, 96)],
    [
      "columns to copy that are not whole vectors",
      () => exports.copyColumnsF32(at, at, 8, 1, 6),
    ],
    [
      "columns to blend that are not whole vectors",
      () => exports.blendColumnsF32(at, 8, at, 1, 6, 1, 1),
    ],
    [
      "a strip of another width",
      () => exports.packF32(at, at, 4, 4, 4, 1, 5, 0),
    ],
  ])("%s", (_, call) => {
    expect(call).toThrow("A kernel's assertion failed at line");
  });
});
