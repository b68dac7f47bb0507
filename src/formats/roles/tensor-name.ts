/** A tensor's name, taken apart: `model.layers.0.mlp.experts.3.w1.weight`. */

export type TensorName = {
  /** The parts, numbers apart: `model layers mlp experts w1 weight`. */
  words: readonly string[];
  /** The parameter's own name: `weight`, `bias`, `in_proj_weight`. */
  leaf: string;
  /** The module that holds it, by its last part that is no number: `w1`; empty at the top. */
  module: string;
  /** The parts before the module's, numbers apart: `model layers mlp experts`. */
  path: readonly string[];
  /** The module's full name, numbers too: `model.layers.0.mlp.experts.3.w1`. */
  owner: string;
  /** The full name of what holds the module: `model.layers.0.mlp.experts.3`. */
  parent: string;
  /** Whether it is one of a numbered series of layers, not of the numbered parts of one module. */
  layered: boolean;
};

const isNumber = (part: string) => /^\d+$/.test(part);

/** What stands around a module as it is trained, compiled or sharded, and is none of the model's. */
const WRAPPER =
  /^(base_layer|original_module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)$/;

/** `lm_head.modules_to_save.default.weight` is what an adapter named `default` has of `lm_head.weight`. */
export function unwrapped(parts: readonly string[]): string[] {
  return parts.filter(
    (part, i) =>
      !WRAPPER.test(part) &&
      part !== "modules_to_save" &&
      parts[i - 1] !== "modules_to_save",
  );
}

export function takeApart(name: string): TensorName {
  const own = name.split(".");
  const parts = unwrapped(own);
  const words = parts.filter((part) => !isNumber(part));
  const leaf = words.at(-1) ?? "";
  const modules = words.slice(0, -1);
  const owner = own.slice(0, own.lastIndexOf(leaf)).join(".");
  const module = modules.at(-1) ?? "";
  // `layers.0.mlp.up_proj` is of a layer; `lm_heads.0` is one of several heads.
  const above = parts.slice(0, parts.lastIndexOf(module));
  return {
    words,
    leaf,
    module,
    path: modules.slice(0, -1),
    owner,
    parent: above.join("."),
    layered: above.some(isNumber),
  };
}

/** The words within a part: `gate_up_proj` is `gate`, `up`, `proj`; `LayerNorm` is `layer`, `norm`. */
export function partWords(part: string): string[] {
  return part
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .split("_")
    .filter((word) => word !== "");
}
