import { type Context, Hono } from "hono";
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import type {
  RunStatus,
  StepMetrics,
  TrainersResponse,
} from "../../api/types.ts";
import { openCheckpoint } from "../../objects/run/checkpoint-stream.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import { fetchEvents, runStub } from "../../objects/run/run.ts";
import {
  completeConfig,
  NAME_PATTERN,
  runRequestSchema,
} from "../../training/config.ts";
import { MAX_HOSTED_BYTES, trainerBytes } from "../../training/memory.ts";
import { issueJoinToken } from "../auth.ts";
import { readValid } from "../body.ts";
import type { AppEnv, Env } from "../env.ts";
import { pathNumber, runName } from "../path.ts";
import { checkQuery, choice } from "../query.ts";

const MAX_HOSTED_TRAINERS = 16;
const METRICS_PAGE = 500;
const CSV_COLUMNS = [
  "step",
  "trainLoss",
  "gradNorm",
  "learningRate",
  "tokens",
  "valLoss",
  "committedMs",
] as const satisfies readonly (keyof StepMetrics)[];

/** Travels in a header between Worker and object. */
const printable = z.string().regex(/^[\x21-\x7e]{1,200}$/);
const name = z.string().regex(NAME_PATTERN);

export const leaseSchema = z.strictObject({
  trainer: name,
  bootId: name,
  fingerprint: printable,
});
export const completionSchema = z.strictObject({
  trainer: name,
  bootId: name,
  lossSum: z.number().nullable(),
  tokens: z.int().min(0).max(1e9),
});
export const stateSchema = z.strictObject({
  state: z.enum(["paused", "running", "cancelled"]),
});
export const trainersSchema = z.union([
  z.strictObject({ count: z.int().min(1).max(MAX_HOSTED_TRAINERS) }),
  z.strictObject({ join: z.literal(true) }),
]);
const kindSchema = z.enum(["train", "eval"]);

/** A hosted trainer's object, over native RPC. */
type TrainerStub = {
  start(run: string, trainer: string): Promise<void>;
};

export const runRoutes = new Hono<AppEnv>()

  /**
   * Create a run and begin it. With a `run` of the caller's choice, repeating it changes nothing.
   *
   * Body:   a RunRequest: { dataset, run?, model?, recipe?, gradientDtype?, seed?, steps?, microbatches?,
   *         sequences?, optimizer?, evaluation?, shards?, snapshotSteps? }; all but the dataset have defaults
   * 201:    a RunStatus;  200: the same run was there before
   * Errors: 400 malformed_json, 404 dataset_not_found, 409 wrong_state (the id has another config),
   *         422 invalid_config (all that is wrong, at once)
   */
  .post("/v1/runs", async (c) => {
    const request = await readValid(c, runRequestSchema);
    const directory = directoryStub(c.env);
    const { key: _key, ...dataset } = await directory.dataset(request.dataset);
    const config = completeConfig(request, dataset);
    const run = request.run ?? newRunName();

    await directory.addRun(run, dataset, Date.now());
    const { created, status } = await runStub(c.env, run).create(run, config);
    return c.json(status, created ? 201 : 200);
  })

  /**
   * The runs that exist, the latest first.
   *
   * 200:    { runs: RunSummary[] }, at most 1,000
   */
  .get("/v1/runs", async (c) =>
    c.json({ runs: await directoryStub(c.env).runs() }),
  )

  /**
   * A run's config and where it is.
   *
   * 200:    a RunStatus
   * Errors: 404 run_not_found
   */
  .get("/v1/runs/:run", async (c) =>
    c.json(await runOf(c, c.req.param("run")).status()),
  )

  /**
   * Pause a run, let it go on, or cancel it. Repeating it changes nothing.
   *
   * Body:   { "state": "paused" | "running" | "cancelled" }
   * 200:    a RunStatus. Paused: no new leases; what is under way is still taken
   * Errors: 400 malformed_json, 404 run_not_found, 409 wrong_state (the run has ended),
   *         422 invalid_config
   */
  .patch("/v1/runs/:run", async (c) => {
    const run = runOf(c, c.req.param("run"));
    const { state } = await readValid(c, stateSchema);
    return c.json(await run.setState(state));
  })

  /**
   * Remove a run that has ended, with its parameters and its history.
   *
   * 204:    gone
   * Errors: 404 run_not_found, 409 run_active (cancel it first)
   */
  .delete("/v1/runs/:run", async (c) => {
    const run = c.req.param("run");
    try {
      await runOf(c, run).remove();
    } catch (error) {
      // A creation that was interrupted leaves an entry without a run: that goes too.
      if (error instanceof AppError && error.code === "run_not_found") {
        await directoryStub(c.env).removeRun(run);
      }
      throw error;
    }
    return c.body(null, 204);
  })

  /**
   * Start trainers that this Worker hosts, or issue a token with which others join. Each call starts
   * new ones. They may serve a run whose objects live in another process: `API` says where.
   *
   * Body:   { "count": 1 … 16 }, or { "join": true }
   * 201:    { "trainers": names }, or { "token", "expiresMs" }
   * Errors: 400 malformed_json, 404 run_not_found,
   *         422 invalid_config (also: the run needs more memory than an isolate has; join from Node)
   */
  .post("/v1/runs/:run/trainers", async (c) => {
    const run = runName(c.req.param("run"));
    const request = await readValid(c, trainersSchema);
    if ("join" in request) {
      await runStub(c.env, run).status();
      const token: TrainersResponse = await issueJoinToken(c.env, run);
      return c.json(token, 201);
    }
    const status = await fetchStatus(c.env, run);
    if (!status.ok) return new Response(status.body, status);
    checkHostable(await status.json<RunStatus>());
    const trainers = await Promise.all(
      Array.from({ length: request.count }, () => startTrainer(c.env, run)),
    );
    return c.json({ trainers } satisfies TrainersResponse, 201);
  })

  /**
   * Take a lease: the right to compute one microbatch. A trainer has one at a time; asking again
   * gives it the same.
   *
   * Body:   a LeaseRequest: { trainer, bootId, fingerprint }
   * 200:    a LeaseResponse: { state, lease }. Waits up to 10 s; `lease` is null when there was none
   * Errors: 400 malformed_json, 404 run_not_found, 409 fingerprint_differs, 422 invalid_config
   */
  .post("/v1/runs/:run/leases", async (c) => {
    const run = runOf(c, c.req.param("run"));
    return c.json(await run.lease(await readValid(c, leaseSchema)));
  })

  /**
   * Complete a lease, once every shard has acknowledged the gradient. Repeating it changes nothing.
   *
   * Path:   kind    train | eval
   *         step, index   of the lease
   * Body:   a Completion: { trainer, bootId, lossSum (nats, null when not finite), tokens }
   * 200:    a CompletionResponse: { state, lease: the next one or null, duplicate }
   * Errors: 400 malformed_json, 404 run_not_found,
   *         409 different_completion | future_step | wrong_state (the trainer took no lease),
   *         410 step_gone | run_ended, 422 invalid_config | invalid_number | invalid_option
   */
  .put("/v1/runs/:run/leases/:kind/:step/:index", async (c) => {
    const run = runOf(c, c.req.param("run"));
    const kind = kindSchema.safeParse(c.req.param("kind"));
    if (!kind.success) {
      throw new AppError(
        "invalid_option",
        `Expected \`kind\` to be train or eval, got "${c.req.param("kind")}"`,
      );
    }
    const step = pathNumber("step", c.req.param("step"));
    const index = pathNumber("index", c.req.param("index"));
    const completion = await readValid(c, completionSchema);
    return c.json(await run.complete(kind.data, step, index, completion));
  })

  /**
   * A run's history, one line a step; the final evaluation has the last line.
   *
   * Query:  format   jsonl (default) | csv; `Accept: text/csv` means csv too
   * 200:    StepMetrics, as JSON lines or as CSV with a header line
   * Errors: 404 run_not_found, 422 invalid_option
   */
  .get("/v1/runs/:run/metrics", async (c) => {
    checkQuery(c, ["format"]);
    const wantsCsv = c.req.header("Accept")?.includes("text/csv") ?? false;
    const format = choice(
      c,
      "format",
      ["jsonl", "csv"],
      wantsCsv ? "csv" : "jsonl",
    );
    const run = runOf(c, c.req.param("run"));
    const first = await run.metrics(0, METRICS_PAGE);
    const pages = pagesFrom(first, (step) => run.metrics(step, METRICS_PAGE));
    return c.body(textStream(pages, format), 200, {
      "Content-Type":
        format === "csv" ? "text/csv; charset=utf-8" : "application/jsonl",
      "Cache-Control": "no-store",
    });
  })

  /**
   * What happens in a run, as server-sent events, live.
   *
   * Header: Last-Event-ID   go on after this event; without it, from the oldest that is kept (1,000 are)
   * 200:    text/event-stream: each event's data is a RunEvent. It ends after five minutes: reconnect
   * 204:    the run has ended, and there are no more
   * Errors: 404 run_not_found, 422 invalid_number
   */
  .get("/v1/runs/:run/events", async (c) => {
    const run = runName(c.req.param("run"));
    const last = pathNumber(
      "Last-Event-ID",
      c.req.header("Last-Event-ID") ?? "0",
    );
    const response = await fetchEvents(c.env, run, last);
    if (response.status === 404) {
      throw new AppError(
        "run_not_found",
        `Expected the id of a run, got "${run}"`,
      );
    }
    return new Response(response.body, response);
  })

  /**
   * The parameters as they are now, all of one step, in any state of the run.
   *
   * 200:    safetensors, f32, Hugging Face GPT-2 names; metadata holds config and step. Equal configs
   *         end in equal bytes
   * Errors: 404 run_not_found
   */
  .get("/v1/runs/:run/checkpoint", async (c) => {
    checkQuery(c, []);
    const run = runName(c.req.param("run"));
    const { step, bytes, chunks } = await openCheckpoint(c.env, run);
    const { readable, writable } = new FixedLengthStream(bytes);
    c.executionCtx.waitUntil(pump(chunks, writable));
    return c.body(readable, 200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(bytes),
      "Content-Disposition": `attachment; filename="${run}-step-${step}.safetensors"`,
      "Cache-Control": "no-store",
    });
  });

function runOf(c: Context<AppEnv>, run: string) {
  return runStub(c.env, runName(run));
}

function newRunName(): string {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return `run-${Array.from(words, (word) => word.toString(36)).join("")}`;
}

/** The run as this Worker's trainers will see it. */
function fetchStatus(env: Env, run: string): Promise<Response> {
  return env.API.fetch(
    `http://localhost/v1/runs/${run}`,
    env.API_TOKEN
      ? { headers: { Authorization: `Bearer ${env.API_TOKEN}` } }
      : {},
  );
}

function checkHostable({ config, parameters }: RunStatus): void {
  const bytes = trainerBytes(config, parameters);
  if (bytes <= MAX_HOSTED_BYTES) return;
  throw new AppError(
    "invalid_config",
    `Expected a run whose trainers need at most ${MAX_HOSTED_BYTES} bytes, which an isolate has; got ${bytes}. Join it from another process, or take fewer parameters, sequences or layers`,
  );
}

async function startTrainer(env: Env, run: string): Promise<string> {
  const [word] = crypto.getRandomValues(new Uint32Array(1));
  const trainer = `edge-${word!.toString(36)}`;
  const stub = env.TRAINER.getByName(
    `${run}/${trainer}`,
  ) as unknown as TrainerStub;
  await stub.start(run, trainer);
  return trainer;
}

async function* pagesFrom(
  first: StepMetrics[],
  next: (fromStep: number) => Promise<StepMetrics[]>,
): AsyncGenerator<StepMetrics[]> {
  for (let page = first; page.length > 0;) {
    yield page;
    page = await next(page.at(-1)!.step + 1);
  }
}

function textStream(
  pages: AsyncGenerator<StepMetrics[]>,
  format: "jsonl" | "csv",
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      if (format === "csv") {
        controller.enqueue(encoder.encode(`${CSV_COLUMNS.join(",")}\n`));
      }
    },
    async pull(controller) {
      const { value, done } = await pages.next();
      if (done) {
        controller.close();
        return;
      }
      const lines = value.map((metrics) =>
        format === "csv"
          ? CSV_COLUMNS.map((column) => metrics[column] ?? "").join(",")
          : JSON.stringify(metrics),
      );
      controller.enqueue(encoder.encode(`${lines.join("\n")}\n`));
    },
  });
}

/** A reader that leaves, or a pin that is gone, breaks the stream off: Content-Length shows it. */
async function pump(
  chunks: AsyncGenerator<Uint8Array>,
  writable: WritableStream<Uint8Array>,
): Promise<void> {
  const writer = writable.getWriter();
  try {
    for await (const chunk of chunks) await writer.write(chunk);
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {
      // The reader has left, so there is nobody to tell.
    });
  }
}
