/** A tensor name in parts: `model.layers.0.mlp.experts.3.w1.weight`. */

export type TensorName = {
  /** The parts without numbers: `model layers mlp experts w1 weight`. */
  words: readonly string[];
  /** The parameter's own name: `weight`, `bias`, `in_proj_weight`. */
  leaf: string;
  /** The module's last part that is no number: `w1`; empty at top level. */
  module: string;
  /** The parts before the module's, without numbers: `model layers mlp experts`. */
  path: readonly string[];
  /** The module's full name: `model.layers.0.mlp.experts.3.w1`. */
  owner: string;
  /** The full name of the module's parent: `model.layers.0.mlp.experts.3`. */
  parent: string;
  /** Whether it is in a numbered series of layers, as opposed to the numbered parts of one module. */
  layered: boolean;
};

const isNumber = (part: string) => /^\d+$/.test(part);

/** Wrappers of training, compilation or sharding, which are not part of the model. */
const WRAPPER =
  /^(base_layer|original_module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)$/;

/** For example `lm_head.modules_to_save.default.weight` is an adapter's copy of `lm_head.weight`. */
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
  // `layers.0.mlp.up_proj` is in a layer; `lm_heads.0` is one of several heads.
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

/** The words in a part: `gate_up_proj` has `gate`, `up`, `proj`; `LayerNorm` has `layer`, `norm`. */
export function partWords(part: string): string[] {
  return part
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .split("_")
    .filter((word) => word !== "");
}
