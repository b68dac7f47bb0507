/** Receives pushes: checks each, reads its body, and stores it before it is acknowledged. */
import { AppError, toResult } from "../../api/errors.ts";
import {
  decodeFrame,
  decodeHeader,
  type Frame,
  frameBytes,
  wrongLength,
} from "../../api/frame.ts";
import type { ShardGeometry } from "../../training/shard-state.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import { authorOfKey, checkUnchanged } from "../platform/author.ts";
import {
  discard,
  frameTooLarge,
  MAX_FRAME_BYTES,
  readFrame,
} from "./frame-body.ts";
import type { Loaded } from "./loaded-shard.ts";
import type { PushLog } from "./push-log.ts";
import { reserveOfShare } from "./push-shares.ts";
import {
  checkExcluded,
  checkFrame,
  checkMicrobatch,
  checkOwn,
  checkRunning,
  checkStep,
} from "./shard-frames.ts";

export class PushDesk {
  readonly #storage: DurableObjectStorage;
  readonly #log: PushLog;
  readonly #loaded: () => Loaded;

  /** `loaded` returns the shard's present metadata. */
  constructor(
    storage: DurableObjectStorage,
    log: PushLog,
    loaded: () => Loaded,
  ) {
    this.#storage = storage;
    this.#log = log;
    this.#loaded = loaded;
  }

  /** Answers a request of `pushFrame`. */
  async answer(
    request: Request,
  ): Promise<{ response: Response; isNew: boolean; step: number }> {
    const [, , step, microbatch] = new URL(request.url).pathname.split("/");
    const declared = request.headers.get("Frame-Bytes") || undefined;
    const result = await toResult(() =>
      this.push(
        request.headers.get("Caller")!,
        request.headers.get("Lease-Key") ?? undefined,
        Number(step),
        Number(microbatch),
        request.body,
        declared === undefined ? undefined : Number(declared),
      ),
    );
    if (!result.ok) await discard(request.body).catch(() => {});
    const isNew = result.ok && !result.value.duplicate;
    return { response: Response.json(result), isNew, step: Number(step) };
  }

  /**
   * Stores one microbatch's gradient durably. `duplicate` means that the same bytes were stored before. The body is
   * only read after all other checks, and no further than a frame of this shard is long.
   */
  async push(
    caller: string,
    key: string | undefined,
    step: number,
    microbatch: number,
    body: ReadableStream<Uint8Array> | null,
    declaredBytes: number | undefined,
  ): Promise<{ duplicate: boolean }> {
    const { keys, ended, geometry, own } = this.#loaded();
    checkRunning(ended);
    const leased = { kind: "train", step, index: microbatch } as const;
    // Checked before the microbatch, since a trainer of an earlier run with this id may name one that this run does
    // not have.
    const author = await authorOfKey(keys, caller, leased, key);
    checkMicrobatch(geometry, microbatch);
    checkOwn(own, microbatch);
    this.#checkPush(author, step, microbatch);
    const most = frameBytes(
      geometry.config.gradientDtype,
      geometry.range.length,
    );
    // One more byte shows that a body is too long.
    const limit = Math.min(declaredBytes ?? Infinity, most + 1);
    const share = await reserveOfShare(author, limit);
    try {
      const reservation = await isolateMemory.reserve(limit);
      try {
        const bytes = await readFrame(body, limit, () => {
          share.touch();
          reservation.touch();
          checkExcluded(this.#loaded().excluded, author);
        });
        try {
          if (bytes.length > most) {
            const more = await discard(body);
            if (bytes.length + more > MAX_FRAME_BYTES)
              throw frameTooLarge(declaredBytes ?? "more");
            throw tooLong(geometry, step, microbatch, bytes, declaredBytes);
          }
          const frame = await decodeFrame(bytes);
          // The run may have been rewound meanwhile; then the gradient is of other parameters.
          checkUnchanged(keys, this.#loaded().keys);
          return this.#store(author, step, microbatch, frame);
        } finally {
          free(bytes);
        }
      } finally {
        reservation.release();
      }
    } finally {
      share.release();
    }
  }

  /** Checks that the run may accept this push; returns the digest that it must have, if known. */
  #checkPush(
    author: string,
    step: number,
    microbatch: number,
  ): string | undefined {
    const { ended, excluded, geometry, step: current } = this.#loaded();
    checkRunning(ended);
    checkMicrobatch(geometry, microbatch);
    checkExcluded(excluded, author);
    const known =
      step < current
        ? this.#log.keptDigest(step, microbatch)
        : this.#log.digest(step, microbatch, author);
    if (known === undefined) checkStep(current, step, "future_step");
    return known;
  }

  #store(
    author: string,
    step: number,
    microbatch: number,
    frame: Frame,
  ): { duplicate: boolean } {
    const known = this.#checkPush(author, step, microbatch);
    checkFrame(this.#loaded().geometry, step, microbatch, frame);
    if (known === frame.digest) return { duplicate: true };
    if (known !== undefined) {
      throw new AppError(
        "different_bytes",
        `Expected the bytes that this author already pushed for step ${step}, microbatch ${microbatch}, or that were committed, SHA-256 ${known}; got ${frame.digest}`,
      );
    }
    const duplicate = this.#storage.transactionSync(() =>
      this.#log.store(frame, author),
    );
    return { duplicate };
  }
}

/** What is wrong with a body of more bytes than the shard's frames have: what it says of itself, or its length. */
function tooLong(
  geometry: ShardGeometry,
  step: number,
  microbatch: number,
  bytes: Uint8Array<ArrayBuffer>,
  declaredBytes: number | undefined,
): AppError {
  const header = decodeHeader(bytes);
  checkFrame(geometry, step, microbatch, header);
  return wrongLength(header, declaredBytes ?? "more");
}
