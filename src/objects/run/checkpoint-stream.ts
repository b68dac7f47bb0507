/** A run's checkpoint, read out of the shards' pinned rows, a MiB at a time. */
import { fromResult } from "../../api/errors.ts";
import type { Range } from "../../model/parameters.ts";
import {
  type CheckpointFolder,
  checkpointFolder,
} from "../../training/checkpoint-folder.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { runRanges } from "./commit.ts";
import { runStub } from "./run.ts";
import { shardStub } from "../shard/shard-stub.ts";
import { ROW_LENGTH } from "../shard/vector-rows.ts";

/** Tensors follow in order of their names, so rows are met again: these many are kept, 1 MiB each. */
const KEPT_ROWS = 8;

type ReadRow = (
  shard: number,
  row: number,
) => Promise<Uint8Array<ArrayBufferLike>>;

/** Errors: `run_not_found` */
export async function openCheckpoint(
  bindings: ObjectBindings,
  run: string,
): Promise<{ step: number; folder: CheckpointFolder }> {
  const pinned = await runStub(bindings, run).pinCheckpoint();
  const { step, config, tokenizer } = pinned;
  const { shards } = runRanges(config);
  const read = keepRows(async (shard, row) =>
    fromResult(await shardStub(bindings, run, shard).pinned(step, row)),
  );

  async function* parameters(range: Range): AsyncGenerator<Uint8Array> {
    const end = range.start + range.length;
    for (let position = range.start; position < end;) {
      const shard = shards.find(
        ({ start, length }) => position < start + length,
      )!;
      const inShard = position - shard.start;
      const row = Math.floor(inShard / ROW_LENGTH);
      const rowEnd = Math.min(
        shard.start + shard.length,
        shard.start + (row + 1) * ROW_LENGTH,
      );
      const length = Math.min(end, rowEnd) - position;
      const from = 4 * (inShard - row * ROW_LENGTH);
      const bytes = await read(shard.index, row);
      yield bytes.subarray(from, from + 4 * length);
      position += length;
    }
  }
  return {
    step,
    folder: checkpointFolder(config, step, tokenizer, parameters),
  };
}

function keepRows(read: ReadRow): ReadRow {
  const kept = new Map<string, Promise<Uint8Array>>();
  return (shard, row) => {
    const key = `${shard}/${row}`;
    const bytes = kept.get(key) ?? read(shard, row);
    kept.delete(key);
    kept.set(key, bytes);
    const [oldest] = kept.keys();
    if (kept.size > KEPT_ROWS) kept.delete(oldest!);
    return bytes;
  };
}
