import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect } from "vitest";
import kernelModule from "../../build/kernels.wasm";
import type { ErrorCode } from "../../src/api/errors.ts";
import { app } from "../../src/http/app.ts";
import { errorsOf } from "../../src/http/declaration/operation.ts";
import { routedPath } from "../../src/http/declaration/path.ts";
import type { Env } from "../../src/http/env.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { loadKernels } from "../../src/kernels/runtime.ts";

loadKernels(kernelModule);

export const ORIGIN = "http://127.0.0.1:8787";

/** The Worker's bindings; `LOCAL_MODE` is on unless `changes` says otherwise. */
export function envWith(changes: Partial<Env> = {}): Env {
  return { ...(env as unknown as Env), LOCAL_MODE: "1", ...changes };
}

export async function send(
  path: string,
  init: RequestInit = {},
  changes: Partial<Env> = {},
): Promise<Response> {
  const context = createExecutionContext();
  return app.request(ORIGIN + path, init, envWith(changes), context);
}

export async function bytesOf(response: Response): Promise<Uint8Array> {
  if (response.status !== 200) {
    throw new Error(`${response.status} ${await response.text()}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

export type Problem = {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  requestId?: string;
};

/** The problem document of a refusal, after checking what all of them promise. */
export async function problemOf(
  response: Response,
  status: number,
  code: string,
): Promise<Problem> {
  const text = await response.text();
  expect.soft(response.status, text).toBe(status);
  expect
    .soft(response.headers.get("Content-Type"))
    .toBe("application/problem+json");
  const problem = JSON.parse(text) as Problem;
  expect.soft(problem).toMatchObject({
    type: `urn:mxfp4-edge:problem:${code}`,
    status,
    code,
  });
  const described = describedAt(problem.instance);
  if (described.length > 0) expect.soft(described).toContain(code);
  expect.soft(problem.title.length).toBeGreaterThan(0);
  expect
    .soft(problem.requestId ?? null)
    .toBe(response.headers.get("X-Request-Id"));
  // A URI reference (RFC 9457 §3.1.5).
  expect
    .soft(new URL(problem.instance, ORIGIN).pathname)
    .toBe(problem.instance);
  expect.soft(problem.detail).toMatch(/^Expected /);
  expect.soft(text).not.toMatch(/\bat .*\.ts:/);
  return problem;
}

/** What the operations of a path say that they refuse; nothing where it is none's, or has no such method. */
function describedAt(path: string): ErrorCode[] {
  const url = ORIGIN + path;
  const found = ROUTES.filter((route) => {
    const pattern = route.path.replace(/\{\w+\}/g, "[^/]+");
    const method = route.method.toUpperCase();
    return new RegExp(`^${pattern}$`).test(routedPath({ url, method }));
  });
  if (found.length === 0) return [];
  return ["method_not_allowed", ...found.flatMap(errorsOf)];
}
