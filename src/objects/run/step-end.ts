/** What the end of a step leaves in a run's records: its evaluation, its commit, or that it cannot be committed. */
import type { RunConfig } from "../../api/run-config.ts";
import { hasEnded } from "../../api/run-status.ts";
import { evaluationMicrobatches } from "../../training/data.ts";
import { meanLoss } from "../../training/step-end.ts";
import { isOwners } from "../platform/author.ts";
import type { ShardStub } from "../shard/shard-stub.ts";
import type { AuthorStore } from "./author-store.ts";
import { firstLink, type Link, nextLink, resultsOf } from "./chain.ts";
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
  /** When the commit began that is under way. */
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

  /** The commit's first phase, to what is persisted. */
  async beginCommit(
    { config, step }: RunRecord,
    shards: readonly ShardStub[],
  ): Promise<void> {
    this.#commitBegan = { step, ms: Date.now() };
    const { history, ballots } = this.#store;
    const results = ballots.results("train", step);
    const told = resultsOf(ballots.ofStep("train", step));
    const gradient = await prepareStep(config, step, shards, results);
    const link =
      gradient.kind === "update"
        ? await nextLink(
            await this.linkBefore(step),
            told,
            gradient.update,
            gradient.gradNorm,
          )
        : null;
    // Cancelled, or another result was told, while the shards were asked: nothing is persisted or applied.
    if (
      hasEnded(this.#present.record().state) ||
      !this.#present.leases().isDone
    )
      return;
    if (gradient.kind !== "missing") this.evaluated(step, config);
    if (gradient.kind === "diverged") {
      this.#present.changeState("diverged");
    } else if (gradient.kind === "missing") {
      for (const index of gradient.microbatches)
        this.#takeBack({ kind: "train", index }, step);
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

  /** What a step's digests build on; where an earlier release left none, the config's. */
  async linkBefore(step: number): Promise<Link> {
    return (
      this.#store.history.commit(step - 1)?.link ??
      (await firstLink(this.#present.record().config))
    );
  }

  /** A shard has no such gradient as was told of: whoever told so, with a join token, tells no more. */
  #takeBack(microbatch: Microbatch, step: number): void {
    const { kind, index } = microbatch;
    this.#present.transaction(() => {
      for (const { author } of this.#store.ballots.of(microbatch, step)) {
        this.#events.append({
          type: "conflict",
          kind,
          step,
          microbatch: index,
          author,
        });
        if (isOwners(author)) continue;
        this.#authors.setState(author, "quarantined");
        this.#store.ballots.discard(author);
        this.#events.append({ type: "author", author, state: "quarantined" });
      }
      this.#store.ballots.remove(microbatch, step);
    });
  }

  /** Every shard has applied the commit. */
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
