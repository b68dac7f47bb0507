/**
 * A run as the page shows it: its history, then its events, until it has ended or is deselected. A later run with the
 * same id is another run.
 *
 * A browser allows six connections to a server for all tabs, and an event stream holds one: only the live run has a
 * stream, the others are queried when their status shows new steps.
 */
import { signal } from "@preact/signals";
import { AppError, messageOf } from "../../api/errors.ts";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";
import {
  type AuthorState,
  hasEnded,
  type RunStatus,
} from "../../api/run-status.ts";
import { client } from "../shell/access.ts";

/** Shortest interval between updates of the display. */
const SHOW_MS = 100;
/** For the status: heartbeats and completion counts of trainers are not events. */
const STATUS_MS = 2_000;
/** A hidden page, whose title still shows the state, polls at every fifth interval. */
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
  /** Authors that are not active, whose results are refused. */
  readonly excluded = signal<ReadonlyMap<string, AuthorState>>(new Map());
  readonly trouble = signal("");
  /** The run does not exist, or was deleted. */
  readonly isGone = signal(false);
  /** The id now belongs to a later run, which is not shown here. */
  readonly isReplaced = signal(false);
  readonly #stopping = new AbortController();
  readonly #steps = new Map<number, StepMetrics>();
  readonly #heard: News[] = [];
  /** Ends the current stream. */
  #listening = new AbortController();
  /** Numbers of status requests: the last one sent, and the latest one answered. */
  #asked = 0;
  #answered = 0;
  #lastEvent = 0;
  /** All earlier updates have been received. */
  #heardStep = 0;
  #lastEventThatWasOff: number | undefined;
  #isLive = false;
  /** The history has been read, and is not known to be incomplete or outdated. */
  #isWhole = false;
  /** Ends `#follow`'s rest. */
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

  /** Whether it has an event stream. */
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

  /** Queries the status. Answers may arrive out of order: older ones are ignored. */
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

  /** A run that does not exist is not queried again. */
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

  /** Reads the history, then events; after a failure, continues where it was. */
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

  /** False if there is nothing more for now, so that it may rest. */
  async #hasHeardTheEnd(signal: AbortSignal): Promise<boolean> {
    const both = AbortSignal.any([this.#stopping.signal, signal]);
    for await (const event of this.#client(both).events(this.#lastEvent)) {
      this.#take(event);
      if (this.#isGap) await this.#readHistory();
      if (this.#mayRest) return false;
    }
    return true;
  }

  /** Replaces the steps: a missed rewind may have removed some. */
  async #readHistory(): Promise<void> {
    this.#isGap = false;
    // A resumed run has no metrics before its first step.
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
      // Only the latest events are kept on the edge: some may be missing after a long pause.
      this.#isGap ||= metrics.step > 0 && !this.#steps.has(metrics.step - 1);
      this.#add(metrics);
    } else {
      this.#heard.push(event);
      if (event.type === "rewind") this.#takeBack(event.step);
      if (event.type === "state") void this.refresh();
      if (event.type === "author") this.#exclude(event.author, event.state);
    }
    this.#show();
  }

  #exclude(author: string, state: AuthorState): void {
    const others = new Map(this.excluded.peek());
    if (state === "active") others.delete(author);
    else others.set(author, state);
    this.excluded.value = others;
  }

  #takeBack(step: number): void {
    for (const each of this.#steps.keys())
      if (each >= step) this.#steps.delete(each);
    this.#heardStep = Math.min(this.#heardStep, step);
  }

  /**
   * A stream can die silently, as when a laptop sleeps: if the status differs from the received steps, and no event
   * arrives until the next check, everything is read again.
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
