/**
 * Turns an uploaded text into a dataset of byte pairs: trains a tokenizer on it, and encodes it as tokens. Driven by
 * alarms, each doing one stretch; the directory gets the progress, and in the end owns the results. Then this
 * object's storage is deleted.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../../api/errors.ts";
import type { Tokenized } from "../directory/dataset-list.ts";
import { directoryStub } from "../directory/directory.ts";
import { tokenizerKey } from "../directory/stored-dataset.ts";
import {
  isCrowded,
  MAX_FAILURES,
  NEXT_MS,
  pauseAfter,
} from "../platform/alarm-pauses.ts";
import { jsonCalls, type JsonStub, jsonStub } from "../platform/json-calls.ts";
import { Lock } from "../platform/lock.ts";
import { LongWait } from "../platform/long-wait.ts";
import { TokenizationStore, type Work } from "./tokenization-store.ts";
import { TokenizationWork } from "./tokenization-work.ts";

type TokenizationBindings = {
  BUCKET: R2Bucket;
  DIRECTORY: DurableObjectNamespace;
};

export class Tokenization extends DurableObject<TokenizationBindings> {
  readonly #store = new TokenizationStore(this.ctx.storage);
  readonly #work = new TokenizationWork(this.env.BUCKET, this.#store);
  readonly #lock = new Lock();
  readonly #calls = jsonCalls(this.ctx, tokenizationMethods(this));
  readonly #memory = new LongWait("memory", (text) =>
    console.warn(`Tokenization of "${this.#store.load()?.name}": ${text}`),
  );
  #isAtWork = false;

  override fetch(request: Request): Promise<Response> {
    return this.#calls.fetch(request);
  }

  /** Begins, or continues if an alarm was lost: the platform drops one after repeated crashes. */
  async begin(name: string, key: string, vocabulary: number): Promise<void> {
    if (this.#isAtWork) return;
    if (!this.#store.load()) {
      const text = await this.env.BUCKET.head(key);
      // The dataset is already ready, or was removed.
      if (!text) return;
      this.#store.create({
        name,
        key,
        vocabulary,
        text: { key, etag: text.etag, bytes: text.size },
        phase: (await this.#isGiven(key)) ? "encode" : "count",
        position: 0,
        tokens: 0,
        uploadId: null,
        parts: [],
        failures: 0,
      });
    }
    await this.wake();
  }

  /** Whether the tokenizer was given with the text, so that none is trained. */
  async #isGiven(key: string): Promise<boolean> {
    return (await this.env.BUCKET.head(tokenizerKey({ key }))) !== null;
  }

  /** Runs the next step soon, since the dataset may have been removed. */
  async wake(): Promise<void> {
    if (this.#isAtWork || !this.#store.load()) return;
    if ((await this.ctx.storage.getAlarm()) === null)
      await this.ctx.storage.setAlarm(Date.now() + NEXT_MS);
  }

  override async alarm(): Promise<void> {
    await this.#lock.run(async () => {
      let pauseMs: number | null = pauseAfter(0);
      this.#isAtWork = true;
      try {
        pauseMs = await this.#next();
      } catch (error) {
        console.warn(error);
      }
      this.#isAtWork = false;
      if (pauseMs !== null)
        await this.ctx.storage.setAlarm(Date.now() + pauseMs);
    });
  }

  /** Runs the next step. Returns the pause before the one after, or null after the last. */
  async #next(): Promise<number | null> {
    const work = this.#store.load();
    if (!work) return null;
    const state = await this.#directory().noteProgress(
      work.name,
      work.key,
      progressOf(work),
    );
    if (state === "under way") return this.#stretch(work);
    if (state === "gone") await this.#work.takeBack(work);
    // Deletes the alarm too.
    await this.ctx.storage.deleteAll();
    return null;
  }

  async #stretch(work: Work): Promise<number> {
    try {
      const tokenized = await this.#work.stretch(work);
      this.#memory.over();
      if (tokenized) await this.#end(work, tokenized);
      return NEXT_MS;
    } catch (error) {
      const failed = isCrowded(error) ? this.#memory.missed() : error;
      if (failed) await this.#fail(work, failed);
      return pauseAfter(work.failures);
    }
  }

  /** An `AppError` ends the work; any other error is retried a few times. */
  async #fail(work: Work, error: unknown): Promise<void> {
    if (error instanceof AppError) {
      const { code, message: detail } = error;
      return this.#end(work, { error: { code, detail } });
    }
    console.error(error);
    const failures = work.failures + 1;
    if (failures < MAX_FAILURES)
      return this.#store.save({ ...this.#store.load()!, failures });
    const detail = `Expected the tokenizer to be trained, got ${failures} failures in a row; remove the dataset, and store it again`;
    return this.#end(work, { error: { code: "unavailable", detail } });
  }

  /** Ends the work: the results belong to the dataset; after a failure, they are deleted. */
  async #end(work: Work, outcome: Tokenized): Promise<void> {
    if ("error" in outcome)
      await this.#work.takeBack(this.#store.load() ?? work);
    await this.#directory().endTraining(work.name, work.key, outcome);
  }

  /** A new stub each time: a stub is unusable once its object has restarted. */
  #directory() {
    return directoryStub(this.env);
  }
}

export function tokenizationStub(
  bindings: { TOKENIZATION: DurableObjectNamespace },
  key: string,
): JsonStub<ReturnType<typeof tokenizationMethods>> {
  return jsonStub(bindings.TOKENIZATION, key);
}

function tokenizationMethods(tokenization: Tokenization) {
  return {
    begin: (name: string, key: string, vocabulary: number) =>
      tokenization.begin(name, key, vocabulary),
    wake: () => tokenization.wake(),
  };
}

/** From 0 to 1. The text is read twice, to count and to encode. */
function progressOf({ phase, position, text }: Work): number {
  const share = position / text.bytes / 2;
  if (phase === "count") return share;
  if (phase === "merge") return 0.5;
  return 0.5 + share;
}
