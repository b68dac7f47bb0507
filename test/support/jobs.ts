/** Jobs by the routes, in the Worker's own runtime. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import type { JobRequest, JobStatus } from "../../src/api/tensors.ts";
import type { Env } from "../../src/http/env.ts";
import { send } from "../http/support.ts";

export const bindings = env as unknown as Env;

export async function putFile(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const response = await send(`/v1/files/${name}`, {
    method: "PUT",
    body: bytes,
    headers: { "Content-Length": String(bytes.length) },
  });
  expect(response.status, await response.text()).toBe(201);
}

export function createJob(request: JobRequest): Promise<Response> {
  return send("/v1/jobs", { method: "POST", body: JSON.stringify(request) });
}

export async function statusOf(job: string): Promise<JobStatus> {
  return (await send(`/v1/jobs/${job}`)).json();
}

/** Within the time of a test, which would not end what goes on in it. */
const LONGEST_MS = 60_000;

/** Drive the job's alarms to its end. Errors: it does not end */
export async function finish(job: string): Promise<JobStatus> {
  const lastMs = Date.now() + LONGEST_MS;
  for (;;) {
    await runDurableObjectAlarm(bindings.JOB.getByName(job));
    const status = await statusOf(job);
    if (status.state !== "running") return status;
    if (Date.now() > lastMs)
      throw new Error(
        `Expected a job that ends, got ${JSON.stringify(status)}`,
      );
  }
}

/** Of the files in the bucket. */
export async function names(): Promise<string[]> {
  const { objects } = await bindings.BUCKET.list({ prefix: "files/" });
  return objects.map(({ key }) => key.slice("files/".length));
}
