/**
 * Access to the flat vectors tensor by tensor, so that neither all parameters nor the whole gradient need to be in
 * memory as f32 at once.
 */
import type { Pointer } from "../kernels/arena.ts";
import { kernels } from "../kernels/runtime.ts";
import type { ParameterTable, ParameterTensor } from "./parameters.ts";

export interface ParameterSource {
  /** The tensor's values, f32, in the caller's arena scope; read-only. */
  read(tensor: ParameterTensor): Pointer;
}

export interface GradientSink {
  /** Allocates the tensor's gradient, f32 zeros, in the caller's arena scope. */
  open(tensor: ParameterTensor): Pointer;
  /** The gradient allocated by `open` is complete. */
  close(tensor: ParameterTensor, gradient: Pointer): void;
}

/** Parameters that are a whole vector at `base`. */
export function flatParameters(base: Pointer): ParameterSource {
  return { read: ({ offset }) => base + 4 * offset };
}

/** Collects the gradient as a whole vector at `base`, f32 [table.length], overwritten; padding becomes 0. */
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

/** Calls `body`, which adds to the gradients of these tensors, in order; then they are complete. */
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
