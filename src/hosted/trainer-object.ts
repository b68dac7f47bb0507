/**
 * A trainer hosted by the edge. Driven by alarms, so a run continues without whoever started it: each alarm computes
 * leases for a while and sets the next. It uses the same HTTP API as every trainer, through a service binding.
 */
import { DurableObject } from "cloudflare:workers";
import { AppError } from "../api/errors.ts";
import { Client } from "../client/client.ts";
import { trainerPauseMs } from "../client/retry.ts";
import { fingerprint } from "../kernels/matmul.ts";
import { isolateMemory } from "../memory/ledger.ts";
import { isFinalRefusal } from "../training/refusals.ts";
import { RunTrainer, type TrainingOutcome } from "../training/trainer.ts";
import { isolatePulls } from "./isolate-pulls.ts";
import { accountOf } from "./trainer-account.ts";

/** Time per alarm: its requests stay below the limit of an invocation, and stopping is quick. */
const BUDGET_MS = 5_000;
/** After this time the event loop gets a turn, so that continuous work does not block its sockets. */
const TURN_MS = 250;
/** The same if outside trainers use the same event loop, since each of their requests waits for a few turns. */
const SHARED_TURN_MS = 25;
/** Version of the stored assignment; 1 if it has none. */
const VERSION = 2;
type Assignment = { version?: number; run: string; trainer: string };

type TrainerBindings = { API?: Fetcher; API_TOKEN?: string };

export class Trainer extends DurableObject<TrainerBindings> {
  /** New for each instance, such as after an eviction or a crash. */
  readonly #bootId = crypto.randomUUID();
  readonly #key = this.ctx.id.toString();
  #trainer: RunTrainer | undefined;
  #stopping = new AbortController();
  /** Consecutive failures. */
  #failures = 0;

  /** Begins to train. Idempotent. */
  async start(run: string, trainer: string): Promise<void> {
    const assignment: Assignment = { version: VERSION, run, trainer };
    if (this.#stopping.signal.aborted) this.#stopping = new AbortController();
    await this.ctx.storage.put("assignment", assignment);
    await this.ctx.storage.setAlarm(Date.now() + 1);
  }

  /** Stops at once; its leases are free for others. */
  async stop(): Promise<void> {
    const assignment = await this.ctx.storage.get<Assignment>("assignment");
    this.#stopping.abort();
    await this.#leave();
    if (!assignment) return;
    const { run, trainer } = assignment;
    // If this fails, the leases lapse by themselves.
    await this.#client()
      .run(run)
      .leave({ trainer, bootId: this.#bootId })
      .catch((error: unknown) => console.warn(error));
  }

  override async alarm(): Promise<void> {
    const assignment = await this.ctx.storage.get<Assignment>("assignment");
    if (!assignment) return;
    if ((assignment.version ?? 1) > VERSION) {
      console.warn(
        `Expected an assignment of at most version ${VERSION}, got ${assignment.version}: deploy the release that wrote it`,
      );
      return;
    }
    const outcome = await this.#train(assignment);
    if (outcome === "ended" || outcome === "stopped") {
      await this.#leave();
      return;
    }
    // Inside an alarm handler, setting an alarm for the present moment may have no effect.
    const waitMs = outcome === "failed" ? trainerPauseMs(this.#failures++) : 1;
    await this.ctx.storage.setAlarm(Date.now() + waitMs);
  }

  async #train(assignment: Assignment): Promise<TrainingOutcome | "failed"> {
    const { signal } = this.#stopping;
    const trainer = (this.#trainer ??= this.#newTrainer(assignment));
    const endMs = Date.now() + BUDGET_MS;
    const budgetMs = this.env.API ? TURN_MS : SHARED_TURN_MS;
    try {
      for (;;) {
        const outcome = await trainer.train({ signal, budgetMs });
        this.#failures = 0;
        if (outcome !== "out-of-budget") return outcome;
        if (Date.now() >= endMs) {
          await trainer.rest();
          return outcome;
        }
        await scheduler.wait(1);
      }
    } catch (error) {
      if (signal.aborted) return "stopped";
      console.error(error);
      // Nobody starts a hosted trainer again when the owner sets the fingerprint back, so it asks until the run ends.
      const isFinal =
        error instanceof AppError &&
        isFinalRefusal(error) &&
        error.code !== "fingerprint_differs";
      return isFinal ? "stopped" : "failed";
    }
  }

  #newTrainer({ run, trainer }: Assignment): RunTrainer {
    return new RunTrainer(
      isolatePulls.sharedBy(this.#client(this.#stopping.signal).run(run)),
      {
        trainer,
        bootId: this.#bootId,
        fingerprint: fingerprint(),
        host: "edge",
      },
      {
        account: accountOf(isolateMemory, this.#key),
        // Where it is an isolate of trainers alone: what others compute amid a microbatch counts on an arena of their own.
        ...(this.env.API && { turn: () => scheduler.wait(0) }),
      },
    );
  }

  #client(signal?: AbortSignal): Client {
    const thisWorker = this.ctx.exports as { default: Fetcher };
    return new Client({
      baseUrl: "http://localhost",
      fetcher: this.env.API ?? thisWorker.default,
      token: this.env.API_TOKEN,
      signal,
    });
  }

  async #leave(): Promise<void> {
    isolateMemory.letGo(this.#key);
    this.#trainer?.letGo();
    this.#trainer = undefined;
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
  }
}
