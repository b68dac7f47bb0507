/** The tensors of a file as an analysis takes them, whatever the container. */
import type { PassedOver } from "../../api/tensors.ts";
import type { GgufOutput } from "../../api/scheme.ts";
import type { FloatDtype } from "../dtype.ts";
import { ggufFloats, ggufTarget } from "./gguf-targets.ts";
import {
  paddingAfter,
  TENSOR_TYPES,
  tensorBytes,
} from "../containers/gguf-types.ts";
import type { GgufInput, Input, TensorInput } from "../containers/input.ts";
import { FILLER_PREFIX } from "../stream/sections.ts";
import { isNamed, type Selection, whyUnchosen } from "./selection.ts";

/** One to look at, and where it lies in the data. */
export type AnalyzedTensor = {
  name: string;
  dtype: FloatDtype;
  shape: readonly number[];
  start: number;
  end: number;
};

export type AnalyzedTensors = {
  /** Those that quantizing would change, in the order of their bytes. */
  chosen: AnalyzedTensor[];
  /** The others that the selection names. */
  passedOver: PassedOver[];
  dataBytes: number;
};

export function analyzedTensors(
  input: Input,
  selection: Selection,
  output: GgufOutput,
): AnalyzedTensors {
  return input.container === "gguf"
    ? ofGguf(input, selection, output)
    : ofTensors(input, selection);
}

function ofTensors(
  { tensors }: TensorInput,
  selection: Selection,
): AnalyzedTensors {
  const chosen: AnalyzedTensor[] = [];
  const passedOver: PassedOver[] = [];
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (name.startsWith(FILLER_PREFIX) || !isNamed(name, selection)) continue;
    const reason = whyUnchosen(tensor);
    if (reason === undefined)
      chosen.push({ ...tensor, dtype: dtype as FloatDtype });
    else passedOver.push({ name, dtype, shape, reason });
  }
  return { chosen, passedOver, dataBytes: tensors.at(-1)?.end ?? 0 };
}

function ofGguf(
  { gguf, dataBytes }: GgufInput,
  selection: Selection,
  output: GgufOutput,
): AnalyzedTensors {
  const chosen: AnalyzedTensor[] = [];
  const passedOver: PassedOver[] = [];
  let start = 0;
  for (const tensor of gguf.tensors) {
    const end = start + tensorBytes(tensor);
    const { name, type, dimensions } = tensor;
    const shape = dimensions.toReversed();
    const target = ggufTarget(tensor, selection, output);
    if (target.type === "mxfp4") {
      chosen.push({ name, dtype: ggufFloats(tensor)!, shape, start, end });
    } else if (isNamed(name, selection)) {
      const [dtype] = TENSOR_TYPES[type]!;
      const becomes = target.type === "q8_0" ? ", becomes Q8_0" : "";
      const reason = target.reason + becomes;
      passedOver.push({ name, dtype, shape, reason });
    }
    start = end + paddingAfter(end, gguf.alignment);
  }
  return { chosen, passedOver, dataBytes };
}
