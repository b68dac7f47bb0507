/** One run as the page has it: its history, then each event as it comes, until it has ended or nobody looks. */
import { signal } from "@preact/signals";
import type { RunEvent, StepMetrics } from "../../api/run-metrics.ts";
import { hasEnded, type RunStatus } from "../../api/run-status.ts";
import { client, messageOf } from "../shell/access.ts";

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
  readonly #stopping = new AbortController();
  readonly #steps = new Map<number, StepMetrics>();
  readonly #heard: News[] = [];
  #lastEvent = 0;
  #isToShow = false;
  #isGap = false;

  constructor(run: string) {
    this.run = run;
    void this.#follow();
    void this.#watch();
  }

  stop(): void {
    this.#stopping.abort();
  }

  /** As it is now. */
  async refresh(): Promise<void> {
    try {
      this.status.value = await this.#client().status();
      this.trouble.value = "";
    } catch (error) {
      if (!this.#isOver) this.trouble.value = messageOf(error);
    }
  }

  get #isOver(): boolean {
    return this.#stopping.signal.aborted;
  }

  #client() {
    return client(this.#stopping.signal).run(this.run);
  }

  /** The history, and events behind it; from where it was, after a break. */
  async #follow(): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.#readHistory();
        for await (const event of this.#client().events(this.#lastEvent)) {
          this.#take(event);
          if (this.#isGap) await this.#readHistory();
        }
        await this.refresh();
        await this.#readHistory();
        return;
      } catch (error) {
        if (this.#isOver) return;
        this.trouble.value = messageOf(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #readHistory(): Promise<void> {
    this.#isGap = false;
    for (const each of await this.#client().metrics())
      this.#steps.set(each.step, each);
    this.#show();
  }

  #take(event: RunEvent): void {
    this.#lastEvent = event.id;
    if (event.type === "step") {
      const { metrics } = event;
      // Only the latest events are kept: after a long sleep some are missing.
      this.#isGap ||= metrics.step > 0 && !this.#steps.has(metrics.step - 1);
      this.#steps.set(metrics.step, metrics);
    } else {
      this.#heard.push(event);
      if (event.type === "rewind")
        for (const step of this.#steps.keys())
          if (step >= event.step) this.#steps.delete(step);
      if (event.type === "state") void this.refresh();
    }
    this.#show();
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
      if (status && hasEnded(status.state)) return;
      await new Promise((resolve) => setTimeout(resolve, STATUS_MS));
    }
  }
}
