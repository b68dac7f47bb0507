/** Records the end of a step: its evaluation, its commit, or why it cannot be committed. */
import type { RunConfig } from "../../api/run-config.ts";
import type { AgreedResult } from "../../api/run-metrics.ts";
import { hasEnded } from "../../api/run-status.ts";
import { evaluationMicrobatches } from "../../training/data.ts";
import {
  firstLink,
  type Link,
  nextLink,
  says,
} from "../../training/results-digest.ts";
import { meanLoss } from "../../training/step-end.ts";
import { isOwners } from "../platform/author.ts";
import type { ShardStub } from "../shard/shard-stub.ts";
import type { AuthorStore } from "./author-store.ts";
import { firstOf, resultsOf, type StoredBallot } from "./ballot-store.ts";
import { prepareStep } from "./commit.ts";
import type { EventLog } from "./event-log.ts";
import type { PresentStep } from "./present-step.ts";
import type { CommitRecord } from "./run-history.ts";
import type { RunRecord, RunStore } from "./run-store.ts";
import type { Microbatch } from "./step-leases.ts";

export class StepEnd {
  readonly #store: RunStore;
  readonly #authors: AuthorStore;
  readonly #events: EventLog;
  readonly #present: PresentStep;
  /** When the commit in progress began. */
  #commitBegan: { step: number; ms: number } | undefined;

  constructor(
    store: RunStore,
    authors: AuthorStore,
    events: EventLog,
    present: PresentStep,
  ) {
    this.#store = store;
    this.#authors = authors;
    this.#events = events;
    this.#present = present;
  }

  evaluated(step: number, config: RunConfig): void {
    if (evaluationMicrobatches(config, step) === 0) return;
    if (this.#store.history.hasEvaluation(step)) return;
    const parts = this.#store.ballots.results("eval", step);
    const loss = meanLoss(parts);
    this.#present.transaction(() => {
      this.#store.history.addEvaluation(step, loss, Date.now());
      this.#events.append({
        type: "evaluation",
        step,
        valLoss: loss.perToken,
        valNatsPerByte: loss.perByte,
        tokens: parts.reduce((sum, part) => sum + part.tokens, 0),
        bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
      });
    });
  }

  /** The first phase of the commit, up to storing its result. */
  async beginCommit(
    { config, step }: RunRecord,
    shards: readonly ShardStub[],
  ): Promise<void> {
    this.#commitBegan = { step, ms: Date.now() };
    const { history, ballots } = this.#store;
    const told = ballots.ofStep("train", step);
    const results = firstOf(told);
    const gradient = await prepareStep(config, step, shards, results);
    const read = () => resultsOf(ballots.ofStep("train", step));
    let link: Link | null = null;
    if (gradient.kind === "update") {
      const { update, gradNorm } = gradient;
      const before = await this.linkBefore(step);
      // Further authors may report the same results during an `await`: repeat until the digests cover all of them.
      let authors: AgreedResult[];
      do {
        authors = read();
        link = await nextLink(before, authors, update, gradNorm);
      } while (JSON.stringify(authors) !== JSON.stringify(read()));
    }
    // If the run was cancelled or results changed while the shards were asked, nothing is stored or applied.
    if (
      hasEnded(this.#present.record().state) ||
      !this.#present.leases().isDone ||
      !areSame(results, ballots.results("train", step))
    )
      return;
    if (gradient.kind !== "missing") this.evaluated(step, config);
    if (gradient.kind === "diverged") {
      this.#present.changeState("diverged");
    } else if (gradient.kind === "missing") {
      for (const index of gradient.microbatches)
        this.#takeBack({ kind: "train", index }, step, told.get(index)!);
      this.#present.forget();
    } else {
      const tokens = results.reduce((sum, each) => sum + each.tokens, 0);
      history.addCommit(
        {
          ...gradient.update,
          gradNorm: gradient.gradNorm,
          trainLoss: meanLoss(results),
          tokens: history.tokensBefore({ config, step }) + tokens,
          committedMs: Date.now(),
          link,
        },
        ballots.phases(step),
      );
    }
  }

  /** The digests before a step; after a step of an earlier release, which stored none, those of the config. */
  async linkBefore(step: number): Promise<Link> {
    return (
      this.#store.history.commit(step - 1)?.link ??
      (await firstLink(this.#present.record().config))
    );
  }

  /**
   * A shard does not have the gradients that these results name: they are removed, and join tokens among their
   * authors are quarantined.
   */
  #takeBack(
    microbatch: Microbatch,
    step: number,
    told: readonly StoredBallot[],
  ): void {
    this.#present.transaction(() => {
      for (const { author } of told) {
        this.#store.ballots.remove(microbatch, step, author);
        this.#events.conflict(microbatch, step, author);
        if (isOwners(author) || !this.#authors.isActive(author)) continue;
        this.#authors.setState(author, "quarantined");
        this.#store.ballots.discard(author);
        this.#events.append({ type: "author", author, state: "quarantined" });
      }
    });
  }

  /** Called when every shard has applied the commit. */
  committed({ step }: CommitRecord): void {
    const began = this.#commitBegan;
    const { history } = this.#store;
    this.#present.transaction(() => {
      if (began?.step === step) history.commitTook(step, Date.now() - began.ms);
      this.#store.update({ step: step + 1 });
      const [metrics] = history.metrics(this.#present.record(), step, 1);
      this.#events.append({ type: "step", metrics: metrics! });
    });
  }
}

/** Whether each microbatch has the same result in both. */
function areSame(
  one: readonly StoredBallot[],
  other: readonly StoredBallot[],
): boolean {
  const [first, second] = [one, other].map((told) => told.map(says).join());
  return first === second;
}
