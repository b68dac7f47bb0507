/** The declarations, and what is derived from them: text both ways, JSON, the preset among the options. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Option, type Options } from "../../src/api/option-kinds.ts";
import { checkOptions } from "../../src/api/check-options.ts";
import {
  readOptions,
  textOptions,
  writeQuery,
} from "../../src/api/option-text.ts";
import {
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
} from "../../src/api/options.ts";
import { PRESET_NAMES, SCHEME_PRESETS } from "../../src/api/presets.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../src/api/scheme.ts";
import {
  readScheme,
  writeScheme,
} from "../../src/formats/blocks/quantization-record.ts";
import { schemeOf } from "../../src/formats/blocks/scheme.ts";

const TABLES: Record<string, Options> = {
  quantize: QUANTIZE_OPTIONS,
  dequantize: DEQUANTIZE_OPTIONS,
  analyze: ANALYZE_OPTIONS,
  hadamard: HADAMARD_OPTIONS,
  gemm: GEMM_OPTIONS,
};

/** Any value that the option may have. */
function valueOf(option: Option): fc.Arbitrary<unknown> {
  switch (option.kind) {
    case "choice":
      return fc.constantFrom(...option.values);
    case "whole":
      return fc.integer({ min: option.least, max: option.most });
    case "patterns":
      return fc.array(
        fc
          .string({ minLength: 1, maxLength: 256 })
          .filter((each) => !each.includes(","))
          .map((each) =>
            option.gives ? `${each.slice(0, 200)}=${option.gives[0]}` : each,
          ),
        { minLength: 1, maxLength: 32 },
      );
    case "list":
      return fc.array(
        fc.string().filter((each) => !each.includes(",")),
        {
          minLength: 1,
          maxLength: 4,
        },
      );
    case "sizes":
      return fc.array(fc.nat(10 ** 9), { minLength: 1, maxLength: 16 });
    case "group":
      return fc.record(mapped(option.options));
  }
}

const mapped = (table: Options) =>
  Object.fromEntries(
    Object.entries(table).map(([name, option]) => [name, valueOf(option)]),
  );

describe.each(Object.entries(TABLES))("options of %s", (_, table) => {
  const values = fc.record(mapped(table), { requiredKeys: [] });

  test("pass the check as they are", () => {
    fc.assert(
      fc.property(values, (options) => {
        expect(checkOptions(table, options)).toEqual(options);
      }),
    );
  });

  test("come out of a query as they went in", () => {
    fc.assert(
      fc.property(values, (options) => {
        const query = new URLSearchParams(writeQuery(table, options as never));
        const read = readOptions(table, (name) => query.getAll(name));
        expect(read).toEqual(options);
      }),
    );
  });

  test("have a text each, and defaults among their values", () => {
    for (const { name, option } of textOptions(table)) {
      expect(name).toMatch(/^[a-z-]+$/);
      expect(option.text.length).toBeGreaterThan(4);
      if (option.kind === "choice" && option.default !== undefined)
        expect(option.values).toContain(option.default);
    }
  });
});

describe("a scheme", () => {
  const schemes = fc.record(
    mapped(SCHEME_OPTIONS),
  ) as unknown as fc.Arbitrary<Scheme>;

  test("comes out of a record as it went in, and min_scale only where it is told", () => {
    fc.assert(
      fc.property(schemes, (scheme) => {
        const selection = { include: [], exclude: [] };
        const pairs = writeScheme(scheme, "gpt-oss", selection, false);
        const metadata = new Map(pairs);
        expect(readScheme(metadata)).toEqual({ layout: "gpt-oss", ...scheme });
        expect(metadata.has("mxfp4.min_scale")).toBe(scheme.minScale !== 0);
      }),
    );
  });

  test("is the preset's where it is not told, and the default's elsewhere", () => {
    for (const preset of PRESET_NAMES) {
      const { layout: _, ...choices } = {
        layout: undefined,
        ...SCHEME_PRESETS[preset],
      };
      expect(schemeOf({ preset })).toEqual({ ...schemeOf({}), ...choices });
      expect(schemeOf({ preset, scale: "ceil", seed: 3 })).toEqual({
        ...schemeOf({ preset }),
        scale: "ceil",
        seed: 3,
      });
    }
    expect(schemeOf({ preset: "ocp", rounding: "stochastic" }).scale).toBe(
      "rceil",
    );
    expect(schemeOf({ preset: "paper" }).scale).toBe("floor");
  });
});
