/**
 * The phases of a tokenization: count words, compute merges from the counts, encode words as tokens, store the tokens
 * as a blob. Each call does one stretch and stores its position, so a crash repeats a stretch, with the same bytes.
 */
import { hex } from "../../api/digest.ts";
import { free } from "../../memory/free.ts";
import {
  isolateMemory,
  NOTHING,
  type Reservation,
} from "../../memory/ledger.ts";
import { Bpe, joined } from "../../tokenizers/bpe.ts";
import {
  readTokenizerJson,
  writeTokenizerJson,
} from "../../tokenizers/tokenizer-json.ts";
import { BpeTrainer } from "../../tokenizers/train-bpe.ts";
import { COUNT_LIMITS, WordCounts } from "../../tokenizers/word-counts.ts";
import type { Tokenized } from "../directory/dataset-list.ts";
import { tokenizerKey, tokensKey } from "../directory/stored-dataset.ts";
import { takeBack } from "../directory/unfinished-uploads.ts";
import { WINDOW_BYTES } from "../../formats/stream/file-source.ts";
import { PART_BYTES, PartWriter } from "../job/part-writer.ts";
import { takeWords } from "./text-stretch.ts";
import type { TokenizationStore, Work } from "./tokenization-store.ts";

const MIB = 1024 * 1024;
/** A window of the text, the counts as a table and as bytes. */
const COUNT_MEMORY = WINDOW_BYTES + 20 * MIB;
/** A window of the text, a part and its tail, the tokenizer and its cached words. */
const ENCODE_MEMORY = WINDOW_BYTES + 2 * PART_BYTES + 12 * MIB;
/** The tokenizer.json and what it is made from. */
const MERGED_MEMORY = 8 * MIB;
/** Dead strings that are not collected yet. */
const UNCOLLECTED = 20 * MIB;
/** The longest wait for memory within an alarm; removing the dataset waits as long. */
const MAX_WAIT_MS = 2_000;
/** After this many merges, the thread is yielded to others. */
const REST_MERGES = 128;

export class TokenizationWork {
  readonly #bucket: R2Bucket;
  readonly #store: TokenizationStore;

  constructor(bucket: R2Bucket, store: TokenizationStore) {
    this.#bucket = bucket;
    this.#store = store;
  }

  /**
   * Does one stretch of the work; returns the outcome after the last. Errors: `unavailable` if there is no memory for
   * it; `malformed_body` if the file is not text
   */
  async stretch(work: Work): Promise<Tokenized | undefined> {
    if (work.phase === "complete") return this.#complete(work);
    await this.#phases[work.phase](work);
    return undefined;
  }

  readonly #phases = {
    count: (work: Work) => this.#count(work),
    merge: (work: Work) => this.#merge(work),
    encode: (work: Work) => this.#encode(work),
  };

  async #count(work: Work): Promise<void> {
    await withMemory(COUNT_MEMORY, async (reservation) => {
      const counts = new WordCounts(COUNT_LIMITS, this.#store.kept("counts"));
      const position = await takeWords(
        this.#bucket,
        work,
        reservation,
        (words) => counts.add(words),
      );
      const isThrough = position === work.text.bytes;
      const phase = isThrough ? "merge" : "count";
      const saved = counts.save();
      this.#store.save(
        { ...work, failures: 0, phase, position },
        { counts: saved },
      );
      free(saved);
    });
  }

  /** In one go, a second at most, since resuming would cost as much as starting over. */
  async #merge(work: Work): Promise<void> {
    const counts = this.#store.kept("counts");
    const bytes = counts.length + BpeTrainer.bytesFor(counts) + MERGED_MEMORY;
    await withMemory(bytes, async (reservation) => {
      const trainer = new BpeTrainer(counts, work.vocabulary);
      while (trainer.train(REST_MERGES)) {
        reservation.touch();
        await scheduler.wait(0);
      }
      trainer.free();
      const json = writeTokenizerJson(new Bpe(trainer.merges));
      await this.#bucket.put(tokenizerKey(work), json);
      const vocabulary = 256 + trainer.merges.length;
      this.#store.save(
        { ...work, failures: 0, phase: "encode", position: 0, vocabulary },
        { counts: new Uint8Array() },
      );
    });
    free(counts);
  }

  async #encode(work: Work): Promise<void> {
    await withMemory(ENCODE_MEMORY, async (reservation) => {
      const bpe = await this.#tokenizer(work);
      const upload = await this.#upload(work);
      const tail = this.#store.kept("tail");
      const writer = new PartWriter(upload, work.parts, tail);
      try {
        let { tokens } = work;
        const position = await takeWords(
          this.#bucket,
          work,
          reservation,
          async (words) => {
            const ids = joined(words.map((word) => bpe.encodeWord(word)));
            tokens += ids.length;
            await writer.write(new Uint8Array(ids.buffer));
          },
        );
        const isThrough = position === work.text.bytes;
        if (isThrough) await writer.flush();
        const { uploadId } = upload;
        const phase = isThrough ? "complete" : "encode";
        const { parts } = writer;
        this.#store.save(
          { ...work, failures: 0, phase, position, tokens, uploadId, parts },
          { tail: writer.tail },
        );
      } finally {
        writer.release();
      }
    });
  }

  /** Completes the upload, unless that was done before a crash. */
  async #complete(work: Work): Promise<Tokenized> {
    const key = keyOf(work);
    if (!(await this.#bucket.head(key))) {
      const upload = await this.#upload(work);
      await upload.complete(work.parts);
    }
    const { body } = (await this.#bucket.get(key))!;
    const hash = new crypto.DigestStream("SHA-256");
    await body.pipeTo(hash);
    const { tokens, vocabulary } = work;
    return { digest: hex(await hash.digest), tokens, vocabulary };
  }

  /** Aborts the upload and deletes everything made. Idempotent. */
  async takeBack(work: Work): Promise<void> {
    if (work.uploadId !== null) await takeBack(await this.#upload(work));
    await this.#bucket.delete([keyOf(work), tokenizerKey(work)]);
  }

  async #tokenizer(work: Work): Promise<Bpe> {
    const object = await this.#bucket.get(tokenizerKey(work));
    if (!object) throw new Error("Expected the tokenizer, got none");
    return readTokenizerJson(await object.text());
  }

  async #upload(work: Work): Promise<R2MultipartUpload> {
    const key = keyOf(work);
    if (work.uploadId !== null)
      return this.#bucket.resumeMultipartUpload(key, work.uploadId);
    // A crash before the id is stored leaves an upload without parts, which R2 aborts after a week.
    const upload = await this.#bucket.createMultipartUpload(key);
    work.uploadId = upload.uploadId;
    this.#store.save(work);
    return upload;
  }
}

function keyOf({ key }: Work): string {
  return tokensKey({ key, tokenizer: "bpe" });
}

async function withMemory(
  bytes: number,
  body: (reservation: Reservation) => Promise<void>,
): Promise<void> {
  let reservation = NOTHING;
  try {
    reservation = await isolateMemory.reserve(
      bytes + UNCOLLECTED,
      "request",
      MAX_WAIT_MS,
    );
    await body(reservation);
  } finally {
    reservation.release();
  }
}
