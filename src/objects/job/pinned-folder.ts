/** The pinned files of a directory. */
import { type NormsOf, readNorms, type Norms } from "../../checkpoints/fold.ts";
import { checkTextBytes, type Folder } from "../../checkpoints/read-heads.ts";
import type { TensorRead } from "../../checkpoints/tensor-reads.ts";
import type { FileRange } from "../../formats/stream/file-range.ts";
import type { ReadFile } from "../../formats/stream/file-source.ts";
import type { PinnedFile } from "./pinned-file.ts";

export class PinnedFolder {
  readonly #files: ReadonlyMap<string, PinnedFile>;
  readonly #read: ReadFile<PinnedFile>;

  constructor(files: readonly PinnedFile[], read: ReadFile<PinnedFile>) {
    this.#files = new Map(files.map((file) => [file.name, file]));
    this.#read = read;
  }

  /** Requires: the folder has the file */
  file(name: string): PinnedFile {
    return this.#files.get(name)!;
  }

  ranges(reads: readonly TensorRead[]): FileRange<PinnedFile>[] {
    return reads.map((each) => ({ ...each, file: this.file(each.file) }));
  }

  norms(of: NormsOf): Promise<Norms> {
    return readNorms(of, ({ file, start, end }) =>
      this.#read(this.file(file), start, end - start),
    );
  }

  get folder(): Folder {
    return {
      list: async () => [...this.#files.keys()],
      text: async (name) => {
        const file = this.#files.get(name);
        if (!file) return undefined;
        checkTextBytes(name, file.bytes);
        return new TextDecoder().decode(await this.#read(file, 0, file.bytes));
      },
      open: async (name) => {
        const file = this.file(name);
        return {
          bytes: file.bytes,
          read: (start, end) => this.#read(file, start, end - start),
        };
      },
    };
  }
}
