/**
 * How a pass reaches the flat vectors: tensor by tensor, so that neither all parameters nor the whole
 * gradient need to be in memory as f32 at once.
 */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

export interface ParameterSource {
  /** The tensor's values, f32, in the caller's scope; not to be written to. */
  read(tensor: ParameterTensor): Pointer;
}

export interface GradientSink {
  /** Room for the tensor's gradient, f32, zeros, in the caller's scope. */
  open(tensor: ParameterTensor): Pointer;
  /** The gradient in the room that `open` gave is complete. */
  close(tensor: ParameterTensor, gradient: Pointer): void;
}

/** The vector lies whole at `base`. */
export function flatParameters(base: Pointer): ParameterSource {
  return { read: ({ offset }) => base + 4 * offset };
}

/** The gradient comes to lie whole at `base`, f32 [table.length], overwritten; padding becomes 0. */
export function flatGradient(
  base: Pointer,
  table: ParameterTable,
): GradientSink {
  kernels().arena.f32(base, table.length).fill(0);
  return {
    open: ({ offset }) => base + 4 * offset,
    close: () => undefined,
  };
}

/** `body` adds to the gradients of these tensors, in their order, which then are complete. */
export function withGradients<T>(
  sink: GradientSink,
  tensors: readonly ParameterTensor[],
  body: (gradients: readonly Pointer[]) => T,
): T {
  return kernels().arena.scope(() => {
    const gradients = tensors.map((tensor) => sink.open(tensor));
    const result = body(gradients);
    for (const [index, tensor] of tensors.entries())
      sink.close(tensor, gradients[index]!);
    return result;
  });
}
