/** A run's checkpoint, streamed from the state that the shards have pinned, 1 MiB at a time. */
import { fromResult } from "../../api/errors.ts";
import { modelOf } from "../../model/architectures.ts";
import type { StateRange } from "../../training/checkpoint.ts";
import {
  type CheckpointFolder,
  checkpointFolder,
} from "../../training/checkpoint-folder.ts";
import { stateParts } from "../../training/shard-state.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { runRanges } from "./commit.ts";
import { runStub } from "./run.ts";
import { shardStub } from "../shard/shard-stub.ts";
import { ROW_LENGTH } from "../shard/vector-rows.ts";

/** Tensors are in order of their names, so rows are read more than once: this many are cached, 1 MiB each. */
const KEPT_ROWS = 8;

type ReadRow = (
  shard: number,
  part: string,
  row: number,
) => Promise<Uint8Array<ArrayBufferLike>>;

/** What a checkpoint contains. */
export type CheckpointContents = {
  /** Whether the optimizer state is included. */
  isFull: boolean;
  /** Default: the present step. */
  step?: number | undefined;
  /** The timeline of an earlier response; refused if it is over. */
  timeline?: string | undefined;
  /** Whether the `chain` digest is included, which depends on who trained. */
  hasChain?: boolean;
};

/**
 * `timeline` identifies the state; `hasRead` tells whether some of it has been read. Errors: `run_not_found`;
 * `future_step`; `step_gone` if the step's state is not kept
 */
export async function openCheckpoint(
  bindings: ObjectBindings,
  run: string,
  { isFull, step: asked, timeline: wanted, hasChain }: CheckpointContents,
): Promise<{
  step: number;
  timeline: string;
  results: string;
  folder: CheckpointFolder;
  hasRead: () => boolean;
}> {
  const stub = runStub(bindings, run);
  const pinned = await stub.pinCheckpoint(
    isFull,
    asked ?? null,
    wanted ?? null,
  );
  const { step, timeline, link, config, tokenizer, tokens } = pinned;
  const { table } = modelOf(config.model);
  // The position of each shard's vectors in the flat vector.
  const parts = runRanges(config).shards.flatMap((range) =>
    stateParts({ config, table, range }).map((part) => ({
      ...part,
      start: range.start + part.start,
      shard: range.index,
    })),
  );
  let hasRead = false;
  const read = keepRows(async (shard, part, row) => {
    const stub = shardStub(bindings, run, shard);
    const bytes = fromResult(await stub.pinned(timeline, step, part, row));
    hasRead = true;
    return bytes;
  });

  async function* state(range: StateRange): AsyncGenerator<Uint8Array> {
    const own = parts.filter(({ moment }) => moment === range.moment);
    const end = range.start + range.length;
    for (let position = range.start; position < end;) {
      const part = own.find(
        ({ start, length }) => start <= position && position < start + length,
      )!;
      const inPart = position - part.start;
      const row = Math.floor(inPart / ROW_LENGTH);
      const rowEnd = part.start + Math.min(part.length, (row + 1) * ROW_LENGTH);
      const length = Math.min(end, rowEnd) - position;
      const from = 4 * (inPart - row * ROW_LENGTH);
      const bytes = await read(part.shard, part.name, row);
      yield bytes.subarray(from, from + 4 * length);
      position += length;
    }
  }
  return {
    step,
    timeline,
    hasRead: () => hasRead,
    results: link.results,
    folder: checkpointFolder(
      config,
      {
        step,
        tokens: isFull ? tokens : undefined,
        results: link.results,
        chain: hasChain ? link.chain : undefined,
      },
      tokenizer,
      state,
    ),
  };
}

function keepRows(read: ReadRow): ReadRow {
  const kept = new Map<string, Promise<Uint8Array>>();
  return (shard, part, row) => {
    const key = `${shard}/${part}/${row}`;
    const bytes = kept.get(key) ?? read(shard, part, row);
    kept.delete(key);
    kept.set(key, bytes);
    const [oldest] = kept.keys();
    if (kept.size > KEPT_ROWS) kept.delete(oldest!);
    return bytes;
  };
}
