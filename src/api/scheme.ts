/** The values of schemes and layouts, and the options of a scheme. */
import { type AllOf, choice, type Whole } from "./option-kinds.ts";

/** How ties between two codes are rounded, in the kernel's order. */
export const NEAREST_MODES = [
  "nearest-even",
  "nearest-away",
  "nearest-zero",
] as const;
export type NearestMode = (typeof NEAREST_MODES)[number];

const ROUNDING_MODES = [...NEAREST_MODES, "stochastic"] as const;
export type RoundingMode = (typeof ROUNDING_MODES)[number];

/** How a block's scale is computed, in the kernel's order. */
export const SCALE_RULES = ["floor", "rceil", "ceil", "even", "mse"] as const;
export type ScaleRule = (typeof SCALE_RULES)[number];

/** For the random Hadamard transform. */
export const SEGMENT_LENGTHS = [16, 32, 64, 128, 256] as const;
export type SegmentLength = (typeof SEGMENT_LENGTHS)[number];

/** OCP MX formats: blocks of 32 elements with a shared E8M0 scale (formats/blocks/block-formats.ts). */
const FORMATS = ["mxfp4", "mxfp8-e4m3", "mxfp8-e5m2"] as const;
export type FormatName = (typeof FORMATS)[number];

/** Names and arrangement of a quantized tensor in files (formats/blocks/block-layouts.ts). */
export const LAYOUTS = [
  "gpt-oss",
  "ggml",
  "compressed-tensors",
  "quark",
  "mlx",
  "openai",
  "deepseek",
  "f4",
] as const;
export type Layout = (typeof LAYOUTS)[number];

/** The loaders of a model's directory (checkpoints/targets.ts). */
export const TARGETS = ["vllm", "transformers", "mlx", "quark"] as const;
export type Target = (typeof TARGETS)[number];

/** All loaders; llama.cpp takes a single file. */
export const LOADERS = [...TARGETS, "llama.cpp"] as const;
export type Loader = (typeof LOADERS)[number];

/** The type of a GGUF's output head and token embedding. */
export const GGUF_OUTPUTS = ["q8_0", "keep", "mxfp4"] as const;
export type GgufOutput = (typeof GGUF_OUTPUTS)[number];

/** Types of a GGUF's tensors by name; `keep`: unchanged. */
export const GGUF_TYPES = [
  "mxfp4",
  "q8_0",
  "f16",
  "bf16",
  "f32",
  "keep",
] as const;
export type GgufType = (typeof GGUF_TYPES)[number];

export const SEED = {
  kind: "whole",
  least: 0,
  most: Number.MAX_SAFE_INTEGER,
  mostText: "2^53 − 1",
  text: "Seed of the rotation's signs and of stochastic rounding; the same seed gives the same bytes",
  default: 0,
} satisfies Whole;

/** All options that a quantized tensor's bytes depend on, in the order of a file's record. */
export const SCHEME_OPTIONS = {
  format: choice(
    FORMATS,
    "Element format: 4-bit E2M1, 8-bit E4M3 or 8-bit E5M2",
    "mxfp4",
  ),
  rounding: choice(
    ROUNDING_MODES,
    "Rounding of elements; nearest-zero is ggml's",
    "nearest-even",
  ),
  scale: choice(
    SCALE_RULES,
    "Rule for a block's shared exponent; mse tries two and takes the one with less error (nearest rounding only); with stochastic rounding the default is rceil",
    "even",
  ),
  minScale: choice([0, 1], "Smallest scale byte", 0),
  prescale: choice(
    [1, 0.75],
    "Factor applied before rounding; 0.75 with floor and stochastic is Algorithm 2 of the paper",
    1,
  ),
  hadamard: choice(
    [0, ...SEGMENT_LENGTHS],
    "Segment length of the random Hadamard transform; 0 for none",
    0,
  ),
  seed: SEED,
};

/** A complete scheme. */
export type Scheme = AllOf<typeof SCHEME_OPTIONS>;
export type Prescale = Scheme["prescale"];
