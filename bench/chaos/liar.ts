/** A trainer that computes as it should, and then tells something else. */
import { setTimeout as sleep } from "node:timers/promises";
import { decodeFrame, encodeFrame, frameDigest } from "../../src/api/frame.ts";
import type { Completion, Lease } from "../../src/api/lease.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import type { TrainingService } from "../../src/training/service.ts";
import type { Liar, Lie } from "./schedule.ts";

/** What is sent so is refused, and no result follows: it may come again and again. */
export const isRefused = (lie: Lie): boolean =>
  ["another's lease", "truncated", "oversized"].includes(lie);
/** So that one whose pushes are refused does not ask without a pause. */
const PAUSE_MS = 30;

/** What has been told of it. */
export type Told = {
  /** By kind. */
  lies: Map<Lie, number>;
  /** False results that the run has taken as one author's word. */
  accepted: number;
};

export function lying(
  run: RunClient,
  { lies, share }: Liar,
  random: () => number,
  told: Told,
): TrainingService {
  let lie: Lie | undefined;
  let digests: string[] = [];
  return {
    status: () => run.status(),
    tokens: (dataset, start, length) => run.tokens(dataset, start, length),
    tokenizer: (dataset) => run.tokenizer(dataset),
    lease: (request) => run.lease(request),
    pull: (...asked) => run.pull(...asked),
    async push(shard, lease, frame) {
      if (shard === 0) {
        digests = [];
        lie = choose(lease);
      }
      const sent = lie ? await falsified(frame, lie) : frame;
      digests[shard] = frameDigest(sent);
      if (lie === "nothing pushed") return;
      if (lie && isRefused(lie)) await sleep(PAUSE_MS);
      const key =
        lie === "another's lease" ? keyOfAnother(lease.key) : lease.key;
      await run.push(shard, { ...lease, key }, sent);
    },
    async complete(lease, completion) {
      if (lease.kind === "eval")
        lie = lies.includes("loss") ? choose(lease) : undefined;
      const own: Completion = {
        ...completion,
        ...(lie === "loss" && { lossSum: (completion.lossSum ?? 1) / 2 }),
        ...(lie === "nan" && { lossSum: null }),
        ...(lease.kind === "train" && { digests }),
      };
      const answer = await run.complete(lease, own);
      if (lie) told.accepted++;
      return answer;
    },
  };

  function choose({ kind }: Lease): Lie | undefined {
    if (random() >= share) return undefined;
    const chosen =
      kind === "eval" ? "loss" : lies[Math.floor(random() * lies.length)];
    if (chosen) told.lies.set(chosen, (told.lies.get(chosen) ?? 0) + 1);
    return chosen;
  }
}

async function falsified(
  frame: Uint8Array<ArrayBuffer>,
  lie: Lie,
): Promise<Uint8Array<ArrayBuffer>> {
  if (lie === "truncated") return frame.slice(0, frame.length >> 1);
  if (lie === "oversized") {
    const longer = new Uint8Array(frame.length + 1024);
    longer.set(frame);
    return longer;
  }
  if (lie === "loss" || lie === "another's lease") return frame;
  const { payload, ...header } = await decodeFrame(frame.slice());
  // Of every dtype, what begins with all bits set is NaN, or has a scale that is.
  const other =
    lie === "nan"
      ? payload.map(() => 0xff)
      : payload.map((byte) => byte ^ 0x88);
  return encodeFrame(header, other);
}

/** The owner's, with a signature that is not its own. */
function keyOfAnother(key: string): string {
  return `owner.trainer-0:${key.split(":")[1]}`;
}
