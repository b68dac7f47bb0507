/** Streams a checkpoint out of the shards' pinned rows, a MiB at a time. */
import { fromResult } from "../../api/errors.ts";
import { checkpointPlan } from "../../training/checkpoint.ts";
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

/** `stream` has exactly `bytes` bytes; the caller sends it. Errors: `run_not_found` */
export async function openCheckpoint(
  bindings: ObjectBindings,
  run: string,
): Promise<{
  step: number;
  bytes: number;
  chunks: AsyncGenerator<Uint8Array>;
}> {
  const pinned = await runStub(bindings, run).pinCheckpoint();
  const { step, config } = pinned;
  const plan = checkpointPlan(config, step, pinned.tokenizer);
  const { shards } = runRanges(config);
  const read = keepRows(async (shard, row) =>
    fromResult(await shardStub(bindings, run, shard).pinned(step, row)),
  );

  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield plan.head;
    for (const range of plan.ranges) {
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
  }
  return { step, bytes: plan.bytes, chunks: chunks() };
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
