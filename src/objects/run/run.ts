/** The object of one training run: JSON calls by itty-durable, and a stream of events. */
import { DurableObject } from "cloudflare:workers";
import { fromResult, type Result, toResult } from "../../api/errors.ts";
import type { Completion, LeaseKind, LeaseRequest } from "../../api/lease.ts";
import type { RunConfig } from "../../api/run-config.ts";
import { hasEnded, type StateRequest } from "../../api/run-status.ts";
import type { ObjectBindings } from "../platform/bindings.ts";
import { RunControl } from "./run-control.ts";
import { eventStream } from "./event-stream.ts";
import {
  JSON_CALL_PATH,
  jsonCalls,
  type JsonStub,
  jsonStub,
} from "../platform/json-calls.ts";

const EVENTS_URL = "https://run/events";

export class Run extends DurableObject<ObjectBindings> {
  readonly #control = new RunControl(
    this.ctx.storage,
    this.env,
    this.ctx.id.name,
  );
  readonly #calls = jsonCalls(this.ctx, runMethods(this.#control));

  override async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith(JSON_CALL_PATH)) return this.#calls.fetch(request);
    const lastEventId = Number(request.headers.get("Last-Event-ID") ?? 0);
    const result = await toResult(() => this.#events(lastEventId));
    return result.ok ? result.value : Response.json(result, { status: 409 });
  }

  override async alarm(): Promise<void> {
    const result = await toResult(() => this.#control.alarm());
    if (!result.ok) console.warn(result.message);
  }

  /** 204 tells an EventSource to stop, since no more events will come. */
  #events(lastEventId: number): Response {
    const { events, state } = this.#control;
    if (state === undefined) return new Response(null, { status: 404 });
    if (hasEnded(state) && events.after(lastEventId, 1).length === 0) {
      return new Response(null, { status: 204 });
    }
    const isOver = (): boolean => {
      const now = this.#control.state;
      return now === undefined || hasEnded(now);
    };
    return new Response(eventStream(events, lastEventId, isOver), {
      headers: {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
      },
    });
  }
}

export function runStub(
  bindings: Pick<ObjectBindings, "RUN">,
  run: string,
): JsonStub<ReturnType<typeof runMethods>> {
  return jsonStub(bindings.RUN, run);
}

/**
 * The run's event stream: 200; 204 if no more events will come; 404 if there is no such run. Errors: `state_version`
 */
export async function fetchEvents(
  bindings: Pick<ObjectBindings, "RUN">,
  run: string,
  lastEventId: number,
): Promise<Response> {
  const response = await bindings.RUN.getByName(run).fetch(EVENTS_URL, {
    headers: { "Last-Event-ID": String(lastEventId) },
  });
  if (response.status !== 409) return response;
  return fromResult(await response.json<Result<never>>());
}

function runMethods(run: RunControl) {
  return {
    create: (id: string, name: string | null, config: RunConfig) =>
      run.create(id, name, config),
    status: (caller: string) => run.status(caller),
    lease: (caller: string, request: LeaseRequest) =>
      run.desk.lease(caller, request),
    complete: (
      caller: string,
      kind: LeaseKind,
      step: number,
      index: number,
      completion: Completion,
      // Optional strings are sent as null.
      key: string | null,
    ) =>
      run.desk.complete(
        caller,
        kind,
        step,
        index,
        completion,
        key ?? undefined,
      ),
    leave: (
      caller: string,
      trainer: Pick<LeaseRequest, "trainer" | "bootId">,
    ) => run.desk.leave(caller, trainer),
    issueToken: (expiresInMs: number) => run.tokens.issue(expiresInMs),
    tokens: () => run.tokens.all(),
    setTokenState: (id: string, state: "active" | "revoked") =>
      run.tokens.setState(id, state),
    datasetName: (caller: string) => run.datasetName(caller),
    setState: (state: StateRequest["state"]) => run.setState(state),
    setFingerprint: (fingerprint: string | null) =>
      run.setFingerprint(fingerprint),
    metrics: (fromStep: number, limit: number) => run.metrics(fromStep, limit),
    stepRecord: (step: number) => run.stepRecord(step),
    reportConflict: (
      caller: string,
      step: number,
      microbatch: number,
      key: string,
    ) => run.desk.reportConflict(caller, step, microbatch, key),
    stateSteps: () => run.stateSteps(),
    rewind: (step: number) => run.rewind(step),
    pinCheckpoint: (
      isFull: boolean,
      step: number | null,
      timeline: string | null,
    ) => run.pinCheckpoint(isFull, step, timeline),
    remove: () => run.remove(),
  };
}
