import { PRESET_NAMES } from "../../api/presets.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";

/** Schemes for `compare`: the chosen one by its options, then the presets. */
export function comparedSchemes(options: SchemeOptions): string[] {
  const { format, rounding, scale, prescale, hadamard } = schemeOf(options);
  const own = `format=${format};rounding=${rounding};scale=${scale};prescale=${prescale};hadamard=${hadamard}`;
  return [own, ...PRESET_NAMES];
}
