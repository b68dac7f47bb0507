import { Arena } from "./arena.ts";

/** An arena without memory: it only counts. Its views are empty. */
export class DryArena extends Arena {
  constructor() {
    super(new WebAssembly.Memory({ initial: 0 }), 0);
  }

  protected override reach(): void {
    // There is no memory to grow.
  }

  override copyIn(source: ArrayBufferView): number {
    return this.alloc(source.byteLength);
  }

  override u8(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(0);
  }

  override u16(): Uint16Array<ArrayBuffer> {
    return new Uint16Array(0);
  }

  override i32(): Int32Array<ArrayBuffer> {
    return new Int32Array(0);
  }

  override f32(): Float32Array<ArrayBuffer> {
    return new Float32Array(0);
  }

  override f64(): Float64Array<ArrayBuffer> {
    return new Float64Array(0);
  }
}
