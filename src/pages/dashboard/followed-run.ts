/**
 * One run as the page has it: its history, then its events, until it has ended or nobody looks. Another that is begun under
 * its name is not this one.
 *
 * A browser has six connections to a server, for all its tabs, and a stream of events holds one: a run that is live hears
 * each event as it comes, others ask once their status tells of steps that are not here.
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
/** Of a page that nobody sees, whose title tells all the same, one look in so many. */
const LOOKS_OUT_OF_SIGHT = 5;
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
  /** All updates before it are here. */
  #heardStep = 0;
  #lastEventThatWasOff: number | undefined;
  #isLive = false;
  /** The history has been read, and nothing is known to be missing or wrong in it. */
  #isWhole = false;
  /** Ends a rest. */
  #wake: () => void = () => undefined;
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
    this.#wake();
  }

  /** Whether its events are heard as they come. */
  set isLive(isLive: boolean) {
    this.#isLive = isLive;
    if (!this.#mayRest) this.#wake();
    else this.#listening.abort();
  }

  get #mayRest(): boolean {
    if (this.#isLive || !this.#isWhole) return false;
    const status = this.status.peek();
    return (
      status === undefined ||
      (!hasEnded(status.state) && this.#heardStep >= status.step)
    );
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
      try {
        if (!this.#isWhole) await this.#readHistory();
        if (this.#mayRest) {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        } else if (await this.#hasHeardTheEnd(signal)) {
          await this.refresh();
          await this.#readHistory();
          return;
        }
      } catch (error) {
        if (signal.aborted && !this.#isOver) continue;
        this.#isWhole = false;
        this.#meet(error);
        if (this.#isOver) return;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** False where there is nothing more for now, and it may rest. */
  async #hasHeardTheEnd(signal: AbortSignal): Promise<boolean> {
    const both = AbortSignal.any([this.#stopping.signal, signal]);
    for await (const event of this.#client(both).events(this.#lastEvent)) {
      this.#take(event);
      if (this.#isGap) await this.#readHistory();
      if (this.#mayRest) return false;
    }
    return true;
  }

  /** In place of what was here: a rewind that was not heard of took steps back. */
  async #readHistory(): Promise<void> {
    this.#isGap = false;
    // One that goes on from another's state has no steps before that.
    const step = this.status.peek()?.step ?? 0;
    const history = await this.#client().metrics();
    this.#steps.clear();
    this.#heardStep = step;
    for (const each of history) this.#add(each);
    this.#isWhole = true;
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
   * A stream can die without a word, as in a laptop's sleep: where the run goes on, or was rewound, and from one look to
   * the next nothing is heard of it, all is asked for anew.
   */
  #doubt({ step }: RunStatus): void {
    const isOff = step !== this.#heardStep;
    const last = isOff ? this.#lastEvent : undefined;
    if (isOff && last === this.#lastEventThatWasOff) {
      this.#isWhole = false;
      this.#listening.abort();
    }
    this.#lastEventThatWasOff = last;
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
    for (let look = 0; !this.#isOver; look++) {
      if (!document.hidden || look % LOOKS_OUT_OF_SIGHT === 0) {
        await this.refresh();
        const status = this.status.peek();
        if (status) this.#doubt(status);
        if (!this.#mayRest) this.#wake();
      }
      if (this.hasEnded) return;
      await new Promise((resolve) => setTimeout(resolve, STATUS_MS));
    }
  }
}
