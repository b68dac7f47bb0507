/**
 * A decoder's weights: panels of eight rows, f32 or MXFP4. They are stored outside the kernels' memory, which never
 * shrinks, and copied through a window of it for each product, so that a dropped model's memory is freed at once.
 */
import type { Pointer } from "../kernels/arena.ts";
import {
  factorOf,
  multiplyDecodePanels,
  PANEL_ROWS,
  decodePanelBytes,
  panelRow,
  type WeightFormat,
} from "../kernels/decode.ts";
import { kernels } from "../kernels/runtime.ts";
import { free } from "../memory/free.ts";
import type {
  Decoder,
  DecoderWeights,
  WeightTensor,
} from "../model/decoder.ts";

/** Panel bytes in the kernels' memory at a time: as much as a second-level cache holds. */
const WINDOW_BYTES = 256 * 1024;

export type Panels = {
  bytes: Uint8Array<ArrayBuffer>;
  rows: number;
  columns: number;
};

export class PanelWeights implements DecoderWeights {
  readonly format: WeightFormat;
  readonly #matrices = new Map<string, Panels>();
  readonly #values = new Map<string, Float32Array<ArrayBuffer>>();

  /** Allocates all tensors of a decoder; `loadWeights` fills them. */
  constructor(decoder: Decoder, format: WeightFormat) {
    this.format = format;
    for (const tensor of decoder.tensors) {
      if (tensor.kind === "values") {
        const values = new Float32Array(elements(tensor));
        this.#values.set(tensor.name, values);
        continue;
      }
      const { rows, columns } = sizes(tensor);
      const bytes = new Uint8Array(matrixBytes(tensor, format));
      this.#matrices.set(tensor.name, { bytes, rows, columns });
    }
  }

  matrix(name: string): Panels {
    return this.#matrices.get(name)!;
  }

  floats(name: string): Float32Array<ArrayBuffer> {
    return this.#values.get(name)!;
  }

  multiply(out: Pointer, name: string, x: Pointer, tokens: number): void {
    const { bytes, rows, columns } = this.matrix(name);
    const one = decodePanelBytes(this.format, columns);
    const together = Math.max(1, Math.floor(WINDOW_BYTES / one));
    const { arena } = kernels();
    arena.scope(() => {
      const factor = factorOf(this.format, x, tokens, columns);
      const window = arena.alloc(together * one);
      for (let row = 0, at = 0; row < rows; row += together * PANEL_ROWS) {
        const part = bytes.subarray(at, at + together * one);
        arena.u8(window, part.length).set(part);
        multiplyDecodePanels(
          this.format,
          out + 4 * row,
          rows,
          window,
          factor,
          Math.min(together * PANEL_ROWS, rows - row),
          columns,
          tokens,
        );
        at += part.length;
      }
    });
  }

  row(out: Pointer, name: string, row: number): void {
    const { bytes, columns } = this.matrix(name);
    const one = decodePanelBytes(this.format, columns);
    const lane = row % PANEL_ROWS;
    const at = ((row - lane) / PANEL_ROWS) * one;
    const { arena } = kernels();
    arena.scope(() => {
      const panel = arena.copyIn(bytes.subarray(at, at + one));
      panelRow(this.format, out, panel, lane, columns);
    });
  }

  values(name: string, start = 0, length?: number): Pointer {
    const all = this.floats(name);
    const end = length === undefined ? all.length : start + length;
    return kernels().arena.copyIn(all.subarray(start, end));
  }

  /** Frees the memory; the weights are not used any more. */
  free(): void {
    for (const { bytes } of this.#matrices.values()) free(bytes);
    for (const values of this.#values.values()) free(values);
  }
}

/** Bytes of a decoder's weights. Errors: `shape_mismatch` if rows are not whole blocks of MXFP4 */
export function weightBytes(
  { tensors }: Pick<Decoder, "tensors">,
  format: WeightFormat,
): number {
  return tensors.reduce(
    (sum, tensor) =>
      sum +
      (tensor.kind === "values"
        ? 4 * elements(tensor)
        : matrixBytes(tensor, format)),
    0,
  );
}

/** Size [rows, columns] of a matrix in its product. */
export function sizes({ shape, kind }: WeightTensor): {
  rows: number;
  columns: number;
} {
  const [first, second] = shape as readonly [number, number];
  return kind === "rows"
    ? { rows: first, columns: second }
    : { rows: second, columns: first };
}

export function elements({ shape }: WeightTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

function matrixBytes(tensor: WeightTensor, format: WeightFormat): number {
  const { rows, columns } = sizes(tensor);
  return Math.ceil(rows / PANEL_ROWS) * decodePanelBytes(format, columns);
}
