/**
 * Maps a model's tensors to its own names, whatever prefix a file uses, and handles output heads tied to the token
 * embedding.
 */
import { AppError } from "../api/errors.ts";
import type { CheckpointTensor, GgmlTensor } from "./checkpoint.ts";
import type { Folder } from "./read-heads.ts";

/** An output head that is the token embedding, and has no tensor of its own. */
export type TiedHead = { head: string; table: string };

type Stored = CheckpointTensor | GgmlTensor;
/** A head and its embedding that are both stored. */
export type TwiceTheSame = { head: Stored; table: Stored };

/** Bytes compared at a time. */
const WINDOW_BYTES = 256 * 1024;

/** Base models are stored without the prefix. Errors: `invalid_config` for a tensor under both names */
export function byOwnName<T extends { name: string }>(
  tensors: readonly T[],
  prefix: string,
): Map<string, T> {
  const found = new Map<string, T>();
  for (const tensor of tensors) {
    const { name } = tensor;
    const isWhole = name.startsWith(prefix) || name.startsWith("lm_head.");
    const own = isWhole ? name : prefix + name;
    const other = found.get(own);
    if (other)
      throw new AppError(
        "invalid_config",
        `Expected a tensor once, got "${other.name}" and "${name}"`,
      );
    found.set(own, tensor);
  }
  return found;
}

/**
 * A file may store the embedding under the head's name only; returns both if it stores both, of which the embedding
 * remains in `tensors`.
 */
export function takeTiedHead<T>(
  tensors: Map<string, T>,
  tied: TiedHead | undefined,
): { head: T; table: T } | undefined {
  const head = tied && tensors.get(tied.head);
  if (!tied || !head) return undefined;
  tensors.delete(tied.head);
  const table = tensors.get(tied.table);
  if (table) return { head, table };
  tensors.set(tied.table, head);
  return undefined;
}

/** Errors: `invalid_config` if the two differ */
export async function checkSame(
  folder: Folder,
  { head, table }: TwiceTheSame,
): Promise<void> {
  const length = head.end - head.start;
  const isAlike =
    head.dtype === table.dtype && head.shape.join() === table.shape.join();
  const [own, other] = [
    await folder.open(head.file),
    await folder.open(table.file),
  ];
  for (let at = 0; isAlike && at < length; at += WINDOW_BYTES) {
    const end = Math.min(at + WINDOW_BYTES, length);
    const [a, b] = await Promise.all([
      own.read(head.start + at, head.start + end),
      other.read(table.start + at, table.start + end),
    ]);
    if (!a.every((byte, i) => byte === b[i])) throw unlike(head, table);
  }
  if (!isAlike) throw unlike(head, table);
}

function unlike(head: { name: string }, table: { name: string }): AppError {
  return new AppError(
    "invalid_config",
    `Expected "${head.name}" to be "${table.name}", as \`tie_word_embeddings\` says, got another`,
  );
}
