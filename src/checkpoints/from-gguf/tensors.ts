/** Presents a GGUF's tensors as a checkpoint's: with transformers' names, and how each is stored. */
import { AppError } from "../../api/errors.ts";
import { quoted } from "../../formats/containers/malformed.ts";
import { FLOAT_DTYPES, isFloat, type StoredType } from "../../formats/dtype.ts";
import {
  compareNames,
  swapped,
  type TensorRange,
} from "../../formats/tensor.ts";
import type { CheckpointTensor, GgmlTensor } from "../checkpoint.ts";
import type { Destination, Names } from "../gguf/names.ts";
import { ROPE_FACTORS } from "./rope-factors.ts";

const GGML_TYPES = ["Q8_0", "MXFP4"] as const;

/** Errors: `unsupported_dtype` for unsupported types; `invalid_config` for tensors that do not belong to the model */
export function tensorsOfGguf(
  tensors: readonly (TensorRange & { file: string })[],
  names: Names,
): { floats: CheckpointTensor[]; ggml: GgmlTensor[] } {
  const floats: CheckpointTensor[] = [];
  const ggml: GgmlTensor[] = [];
  const modules = byModule(names);
  for (const tensor of tensors) {
    if (tensor.name === ROPE_FACTORS) continue;
    const { file, start, end, dtype, shape } = tensor;
    const { name, turned, rows } = sourceOf(modules, tensor.name);
    const place = { name, file, start, end };
    const headRows = rows && "of" in rows ? { headRows: rows.of } : {};
    const isTurned = turned && shape.length > 1;
    if (isGgml(dtype))
      ggml.push({
        ...place,
        ...headRows,
        ...(isTurned && { turned }),
        dtype,
        shape,
      });
    else if (!isFloat(dtype)) throw notRead(tensor.name, dtype);
    else if (isTurned)
      floats.push({ ...place, dtype, shape: swapped(shape), turned });
    else floats.push({ ...place, ...headRows, dtype, shape });
  }
  return {
    floats: floats.toSorted((a, b) => compareNames(a.name, b.name)),
    ggml,
  };
}

function isGgml(dtype: StoredType): dtype is GgmlTensor["dtype"] {
  return (GGML_TYPES as readonly StoredType[]).includes(dtype);
}

function notRead(name: string, dtype: StoredType): AppError {
  return new AppError(
    "unsupported_dtype",
    `Expected tensors of ${[...FLOAT_DTYPES, ...GGML_TYPES].join(", ")}, got ${dtype} in ${quoted(name)}`,
  );
}

type Source = Omit<Destination, "to"> & { name: string };

/** By llama.cpp's names, without their suffix. */
function byModule(names: Names): ReadonlyMap<string, Source> {
  const found = new Map<string, Source>();
  for (const [name, entry] of Object.entries(names)) {
    const { to, ...how } =
      typeof entry === "string" ? { to: entry } : (entry as Destination);
    found.set(to, { name, ...how });
  }
  return found;
}

/** Errors: `invalid_config` */
function sourceOf(modules: ReadonlyMap<string, Source>, name: string): Source {
  const [, layer, own, ending] =
    /^(?:blk\.(\d+)\.)?(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  const module = layer === undefined ? own : `blk.#.${own}`;
  const found = module === undefined ? undefined : modules.get(module);
  if (found)
    return { ...found, name: found.name.replace("#", `${layer}`) + ending };
  throw new AppError(
    "invalid_config",
    `Expected the tensors of a model that is computed here, got ${quoted(name)}`,
  );
}
