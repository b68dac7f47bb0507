/**
 * The text bytes of a microbatch's counted tokens, from the dataset itself. Losses are reported per byte, so a count
 * that a trainer could choose would let it choose the loss.
 */
import { AppError } from "../../api/errors.ts";
import type { LeaseKind } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { isolateMemory } from "../../memory/ledger.ts";
import {
  countedBytes,
  countedTokens,
  readBatch,
  type Tokens,
} from "../../training/data.ts";
import {
  bytesPerToken,
  cachedTokenBytes,
  TokenCache,
} from "../../training/token-cache.ts";
import {
  tokenLengths,
  tokenLengthsBytes,
} from "../../training/token-lengths.ts";
import { directoryStub } from "../directory/directory.ts";
import { tokensKey } from "../directory/stored-dataset.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import type { RunStore } from "./run-store.ts";

type Leased = { kind: LeaseKind; step: number; index: number };
type Dataset = { tokens: TokenCache; lengths: Uint32Array };

export class TextBytes {
  readonly #bindings: ObjectBindings;
  readonly #store: RunStore;
  #dataset: Dataset | undefined;

  constructor(bindings: ObjectBindings, store: RunStore) {
    this.#bindings = bindings;
    this.#store = store;
  }

  /** Errors: `dataset_not_found` if its tokens are gone */
  async of(leased: Leased): Promise<number> {
    const { run, config } = this.#store.find()!;
    if (config.dataset.tokenizer === "byte")
      return countedTokens(config, leased.kind, leased.index);
    const key = `tokens of run ${run}`;
    if (!this.#dataset) {
      this.#dataset = this.#open(config);
      const { dataset, model } = config;
      const bytes =
        cachedTokenBytes(dataset) + tokenLengthsBytes(dataset, model);
      isolateMemory.keep(key, bytes, () => (this.#dataset = undefined));
    }
    isolateMemory.touch(key);
    const { tokens, lengths } = this.#dataset;
    const batch = await readBatch(config, leased, (start, length) =>
      tokens.read(start, length),
    );
    return countedBytes(batch, lengths);
  }

  #open({ dataset }: RunConfig): Dataset {
    return {
      tokens: new TokenCache(dataset, (start, length) =>
        this.#read(dataset.name, start, length),
      ),
      lengths: tokenLengths(this.#store.tokenizer()!),
    };
  }

  async #read(name: string, start: number, length: number): Promise<Tokens> {
    const dataset = await directoryStub(this.#bindings).dataset(name);
    const width = bytesPerToken(dataset);
    const range = { offset: width * start, length: width * length };
    const object = await this.#bindings.BUCKET.get(tokensKey(dataset), {
      range,
    });
    if (object) return new Uint16Array(await object.arrayBuffer());
    throw new AppError(
      "dataset_not_found",
      `Expected the tokens of dataset "${name}", got none: they were removed`,
    );
  }
}
