/**
 * One run as the page has it: its history, then each event as it comes, until it has ended or nobody looks. Another that
 * is begun under its name is not this one.
 */
import { signal } from "@preact/signals";
import { AppError, messageOf } from "../../api/errors.ts";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";
import { hasEnded, type RunStatus } from "../../api/run-status.ts";
import { client } from "../shell/access.ts";

/** What is heard is shown so often at most. */
const SHOW_MS = 100;
/** Heartbeats and counts of trainers are no events. */
const STATUS_MS = 2_000;
const RETRY_MS = 2_000;
/** Latest first. */
const MAX_NEWS = 40;

export type News = Exclude<RunEvent, { type: "step" }>;

export class FollowedRun {
  readonly run: string;
  readonly status = signal<RunStatus | undefined>(undefined);
  /** In order of steps. */
  readonly metrics = signal<readonly StepMetrics[]>([]);
  readonly news = signal<readonly News[]>([]);
  readonly trouble = signal("");
  /** There is no such run, or no more. */
  readonly isGone = signal(false);
  /** What has its name now was created later: nothing of that is shown here. */
  readonly isReplaced = signal(false);
  readonly #stopping = new AbortController();
  readonly #steps = new Map<number, StepMetrics>();
  readonly #heard: News[] = [];
  /** Ends the stream that is heard now. */
  #listening = new AbortController();
  /** Questions for the status, in order, and the latest of them that is answered. */
  #asked = 0;
  #answered = 0;
  #lastEvent = 0;
  /** The step behind the last that is here. */
  #heardStep = 0;
  #lastEventThatWasBehind: number | undefined;
  #isToShow = false;
  #isGap = false;

  constructor(run: string) {
    this.run = run;
    void this.#follow();
    void this.#watch();
  }

  get hasEnded(): boolean {
    const { value: status } = this.status;
    return status !== undefined && hasEnded(status.state);
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** As it is now. Answers may overtake each other: one to an earlier question says nothing any more. */
  async refresh(): Promise<void> {
    const asked = ++this.#asked;
    const outcome = await this.#client()
      .status()
      .then(
        (status) => ({ status }),
        (error: unknown) => ({ error }),
      );
    if (asked < this.#answered) return;
    this.#answered = asked;
    if ("error" in outcome) {
      this.#meet(outcome.error);
      return;
    }
    const { status } = outcome;
    const known = this.status.peek();
    if (known && known.createdMs !== status.createdMs) {
      this.isReplaced.value = true;
      this.stop();
      return;
    }
    this.status.value = status;
    this.trouble.value = "";
  }

  /** Nothing more is asked about a run that is not there. */
  #meet(error: unknown): void {
    if (this.#isOver) return;
    this.isGone.value =
      error instanceof AppError && error.code === "run_not_found";
    this.trouble.value = this.isGone.value
      ? `There is no run ${this.run} on this edge`
      : messageOf(error);
    if (this.isGone.value) this.stop();
  }

  get #isOver(): boolean {
    return this.#stopping.signal.aborted;
  }

  #client(signal = this.#stopping.signal) {
    return client(signal).run(this.run);
  }

  /** The history, and events behind it; from where it was, after a break. */
  async #follow(): Promise<void> {
    while (!this.#isOver) {
      this.#listening = new AbortController();
      const { signal } = this.#listening;
      const api = this.#client(
        AbortSignal.any([this.#stopping.signal, signal]),
      );
      try {
        await this.#readHistory();
        for await (const event of api.events(this.#lastEvent)) {
          this.#take(event);
          if (this.#isGap) await this.#readHistory();
        }
        await this.refresh();
        await this.#readHistory();
        return;
      } catch (error) {
        if (signal.aborted && !this.#isOver) continue;
        this.#meet(error);
        if (this.#isOver) return;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #readHistory(): Promise<void> {
    this.#isGap = false;
    for (const each of await this.#client().metrics()) this.#add(each);
    this.#show();
  }

  #add(metrics: StepMetrics): void {
    this.#steps.set(metrics.step, metrics);
    this.#heardStep = Math.max(this.#heardStep, metrics.step + 1);
  }

  #take(event: RunEvent): void {
    this.#lastEvent = event.id;
    if (event.type === "step") {
      const { metrics } = event;
      // Only the latest events are kept: after a long sleep some are missing.
      this.#isGap ||= metrics.step > 0 && !this.#steps.has(metrics.step - 1);
      this.#add(metrics);
    } else {
      this.#heard.push(event);
      if (event.type === "rewind") this.#takeBack(event.step);
      if (event.type === "state") void this.refresh();
    }
    this.#show();
  }

  #takeBack(step: number): void {
    for (const each of this.#steps.keys())
      if (each >= step) this.#steps.delete(each);
    this.#heardStep = Math.min(this.#heardStep, step);
  }

  /**
   * A stream can die without a word, as in a laptop's sleep: where the run goes on, and from one look to the next nothing
   * is heard of it, it is asked for anew.
   */
  #doubt({ step }: RunStatus): void {
    const isBehind = step > this.#heardStep;
    const last = isBehind ? this.#lastEvent : undefined;
    if (isBehind && last === this.#lastEventThatWasBehind)
      this.#listening.abort();
    this.#lastEventThatWasBehind = last;
  }

  #show(): void {
    if (this.#isToShow) return;
    this.#isToShow = true;
    setTimeout(() => {
      this.#isToShow = false;
      const steps = [...this.#steps.values()];
      this.metrics.value = steps.sort((a, b) => a.step - b.step);
      this.news.value = this.#heard.slice(-MAX_NEWS).reverse();
    }, SHOW_MS);
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      if (!document.hidden) await this.refresh();
      const { value: status } = this.status;
      if (status && !document.hidden) this.#doubt(status);
      if (this.hasEnded) return;
      await new Promise((resolve) => setTimeout(resolve, STATUS_MS));
    }
  }
}
