/**
 * Sliding windows of attention in transformers' config.json: in such a layer, a position attends to itself and the
 * `sliding_window` − 1 positions before it.
 */
import { shown } from "../../api/option-kinds.ts";
import type { Pointer } from "../../kernels/arena.ts";
import { attend, type LayerCache } from "../../kernels/decode.ts";
import type { LlamaShape } from "../../api/run-config.ts";
import { positiveIn, unlike } from "./rope-config.ts";

type Config = Readonly<Record<string, unknown>>;

/** In these, all layers have the window; null disables it. */
const ALL_LAYERS: readonly unknown[] = ["mistral", "phi3"];
/**
 * In these, layers from `max_window_layers` on have it if `use_sliding_window` is true, unless `layer_types` is given.
 */
const SOME_LAYERS: readonly unknown[] = ["qwen2", "qwen3"];
const DEFAULT_WINDOW = { mistral: 4096, qwen2: 4096, qwen3: 4096 };
const DEFAULT_FULL_LAYERS = 28;

const FULL = "full_attention";
const SLIDING = "sliding_attention";

/**
 * The window of each layer; Infinity for full attention. Errors: `invalid_config` for windows that transformers' class
 * does not support
 */
export function windowsOf(config: Config, layers: number): number[] {
  const { model_type: type, layer_types: types = null } = config;
  const window = windowIn(config);
  const isSliding = (layer: number): boolean =>
    window !== undefined &&
    (!SOME_LAYERS.includes(type) || layer >= fullLayers(config));
  const own = Array.from({ length: layers }, (_, layer) => isSliding(layer));
  if (types !== null) {
    if (!Array.isArray(types) || types.length !== layers)
      throw unlike(`\`layer_types\` of ${layers} layers`, types);
    for (const [layer, each] of types.entries()) {
      // Qwen's class uses the list; the others ignore it, so it must agree.
      const allowed =
        window !== undefined && SOME_LAYERS.includes(type)
          ? [FULL, SLIDING]
          : [own[layer] ? SLIDING : FULL];
      if (!allowed.includes(each as string))
        throw unlike(
          `\`layer_types\` ${allowed.map(shown).join(" or ")} in layer ${layer}`,
          each,
        );
      own[layer] = each === SLIDING;
    }
  }
  return own.map((slides) => (slides ? window! : Infinity));
}

/** Errors: `invalid_config` */
function windowIn(config: Config): number | undefined {
  const { model_type: type, use_sliding_window: slides = false } = config;
  const fallback = DEFAULT_WINDOW[type as keyof typeof DEFAULT_WINDOW] ?? null;
  const window =
    config.sliding_window === undefined ? fallback : config.sliding_window;
  if (SOME_LAYERS.includes(type)) {
    if (typeof slides !== "boolean")
      throw unlike("`use_sliding_window` true or false", slides);
    if (!slides) return undefined;
  }
  if (window === null) return undefined;
  if (typeof window !== "number" || !Number.isSafeInteger(window) || window < 1)
    throw unlike("a whole number `sliding_window` from 1, or null", window);
  if (ALL_LAYERS.includes(type) || SOME_LAYERS.includes(type)) return window;
  // Llama's class has none; a window of at least the whole context makes no difference.
  if (window >= positiveIn(config, "max_position_embeddings")) return undefined;
  throw unlike("`sliding_window` null", window);
}

function fullLayers({ max_window_layers: told }: Config): number {
  const layers = told ?? DEFAULT_FULL_LAYERS;
  if (typeof layers === "number" && Number.isSafeInteger(layers) && layers >= 0)
    return layers;
  throw unlike("a whole number `max_window_layers` from 0", layers);
}

/**
 * Attention of `tokens` positions from `first` on, each to its last `window` positions. out, q f32 [tokens, heads ·
 * headWidth].
 */
export function attendWithin(
  window: number,
  out: Pointer,
  q: Pointer,
  { keys, values }: LayerCache,
  first: number,
  tokens: number,
  shape: Pick<LlamaShape, "heads" | "groups" | "headWidth">,
): void {
  const { heads, groups, headWidth } = shape;
  const width = heads * headWidth;
  // Positions within the first window have full attention.
  const whole = Math.min(tokens, Math.max(0, window - first));
  const past = { keys, values };
  if (whole > 0) attend(out, q, width, past, first, whole, shape);
  for (let t = whole; t < tokens; t++) {
    const hidden = 4 * (first + t + 1 - window) * groups * headWidth;
    const seen = { keys: keys + hidden, values: values + hidden };
    const row = 4 * t * width;
    attend(out + row, q + row, width, seen, window - 1, 1, shape);
  }
}
