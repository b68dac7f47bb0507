/** A trainer of this tab as the page sees it: a Worker that trains until the run has ended or it is told to leave. */
import { batch, signal } from "@preact/signals";
import type { Completion, Lease } from "../../api/lease.ts";
import { Client } from "../../client/client.ts";

export type TabTask = {
  baseUrl: string;
  token: string | undefined;
  run: string;
  trainer: string;
  /** Of this Worker only. */
  bootId: string;
  /** In which it waits for leases. */
  line: number;
  memoryBytes: number;
};

export type TabMessage =
  | ({ type: "microbatch" } & Pick<Lease, "kind" | "step"> &
      Pick<Completion, "lossSum" | "tokens" | "bytes">)
  | { type: "trouble"; text: string }
  | { type: "refused"; text: string }
  | { type: "ended"; outcome: "ended" | "left" };

export class TabTrainer {
  readonly trainer: string;
  readonly state = signal<"training" | "refused" | "ended" | "left">(
    "training",
  );
  readonly done = signal(0);
  readonly tokens = signal(0);
  readonly step = signal<number | undefined>(undefined);
  /** Of the latest microbatch, in nats; undefined before the first. */
  readonly loss = signal<
    { perToken: number | null; perByte: number | null } | undefined
  >(undefined);
  readonly trouble = signal("");
  readonly #task: TabTask;
  readonly #worker: Worker;

  constructor(task: TabTask) {
    this.trainer = task.trainer;
    this.#task = task;
    this.#worker = new Worker("/pages/trainer-worker.js", { type: "module" });
    this.#worker.addEventListener(
      "message",
      ({ data }: MessageEvent<TabMessage>) => batch(() => this.#hear(data)),
    );
    this.#worker.addEventListener("error", ({ message }) =>
      this.#end("refused", message),
    );
    this.#worker.postMessage(task);
  }

  /** Its leases are freed. */
  leave(): void {
    if (this.state.value === "training") this.#worker.postMessage("leave");
  }

  /** The page is closed, and its Worker with it: frees its leases at once, rather than when they expire. */
  vanish(): void {
    if (this.state.value !== "training") return;
    const { run } = this.#task;
    const fetcher = {
      fetch: (url: string, init?: RequestInit) =>
        fetch(url, { ...init, keepalive: true }),
    };
    this.#end("left", "");
    const api = new Client({ ...this.#task, fetcher }).run(run);
    // Nobody can be told; the lease expires eventually.
    api.leave(this.#task).catch(() => undefined);
  }

  #hear(message: TabMessage): void {
    switch (message.type) {
      case "microbatch":
        this.done.value++;
        this.tokens.value += message.tokens;
        this.step.value = message.step;
        this.loss.value = lossOf(message);
        this.trouble.value = "";
        return;
      case "trouble":
        this.trouble.value = message.text;
        return;
      case "refused":
        this.#end("refused", message.text);
        return;
      case "ended":
        this.#end(message.outcome, "");
    }
  }

  #end(state: "refused" | "ended" | "left", trouble: string): void {
    this.state.value = state;
    this.trouble.value = trouble;
    this.#worker.terminate();
  }
}

function lossOf({
  lossSum,
  tokens,
  bytes = tokens,
}: Pick<Completion, "lossSum" | "tokens" | "bytes">) {
  const mean = (count: number) => (lossSum === null ? null : lossSum / count);
  return { perToken: mean(tokens), perByte: mean(bytes) };
}
