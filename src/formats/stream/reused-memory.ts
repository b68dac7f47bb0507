import { free } from "../../memory/free.ts";

/** Memory that is taken again and again. */
export class ReusedMemory {
  #buffer = new ArrayBuffer(0);

  /** Overwrites what was taken before; `least` is what a new one has. */
  take(bytes: number, least: number): Uint8Array<ArrayBuffer> {
    if (this.#buffer.byteLength < bytes) {
      free(new Uint8Array(this.#buffer));
      this.#buffer = new ArrayBuffer(Math.max(bytes, least));
    }
    return new Uint8Array(this.#buffer, 0, bytes);
  }

  /** A stream that reads into memory moves it to another buffer. */
  putBack({ buffer }: Uint8Array): void {
    if (this.#buffer.detached) this.#buffer = buffer as ArrayBuffer;
  }

  release(): void {
    free(new Uint8Array(this.#buffer));
    this.#buffer = new ArrayBuffer(0);
  }
}
