/** Every conversion of microxcaling (test/fixtures/README.md), value by value. */
import { expect, it } from "vitest";
import "../support/kernels-node.ts";
import { Golden } from "../support/golden.ts";
import { dequantize, quantize } from "../support/mxfp4.ts";

const golden = new Golden("mxfp4-conversion.safetensors");
const input = golden.f32("input");

it.each(["nearest-even", "nearest-away"] as const)(
  "%s equals microxcaling",
  (mode) => {
    expect(golden.number("block")).toBe(32);
    expect(golden.metadata.get("scale_rule")).toBe("floor");

    const quantized = quantize(input, {
      rounding: { mode },
      scale: "floor",
      prescale: 1,
    });
    const got = dequantize(quantized, 1);
    const want = golden.f32(mode.replace("-", "_"));
    const differing = [...got.keys()].filter(
      (i) => !Object.is(got[i], want[i]),
    );
    const shown = differing
      .slice(0, 5)
      .map((i) => `${input[i]}: expected ${want[i]}, got ${got[i]}`);
    expect(shown).toEqual([]);
    expect(got.length).toBe(want.length);
  },
);
