/**
 * Who may call.
 *
 *   API_TOKEN set      `Authorization: Bearer <API_TOKEN>`; a join token opens its run's routes for trainers
 *   LOCAL_MODE is "1"  a loopback Host and no foreign Origin; then, without API_TOKEN, everyone
 *   neither            nobody, except for routes that are open
 *
 * A join token is `join.<run>.<expiryMs>.<HMAC-SHA-256 of what stands before, base64url>`.
 */
import type { Context } from "hono";
import { encodeBase64Url } from "hono/utils/encode";
import { AppError } from "../api/errors.ts";
import type { Access } from "./declaration/route.ts";
import type { AppEnv, Env } from "./env.ts";

const JOIN_TOKEN_MS = 7 * 24 * 60 * 60 * 1000;
/** Signs join tokens where there is no secret, and none is needed: LOCAL_MODE answers loopback only. */
const LOCAL_KEY = "mxfp4-edge local mode";
const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Refuses, with 401 or 403, every request that the head of this file does not let in. */
export async function authorize(
  c: Context<AppEnv>,
  access: Access,
): Promise<void> {
  if (c.env.LOCAL_MODE === "1") checkLoopback(c);
  if (access !== "open") await checkToken(c, access);
}

/** A token for the trainers of `run`. Give it to nobody who may not push gradients. */
export async function issueJoinToken(
  env: Env,
  run: string,
  nowMs = Date.now(),
): Promise<{ token: string; expiresMs: number }> {
  const expiresMs = nowMs + JOIN_TOKEN_MS;
  const claim = `join.${run}.${expiresMs}`;
  return { token: `${claim}.${await sign(env, claim)}`, expiresMs };
}

/** The run that a valid join token names; undefined for a forged, foreign or expired one. */
export async function runOfJoinToken(
  env: Env,
  token: string,
  nowMs = Date.now(),
): Promise<string | undefined> {
  const [, claim, run, expiryMs, signature] =
    /^(join\.(.+)\.(\d{1,16}))\.([\w-]+)$/.exec(token) ?? [];
  if (!claim || !signature) return undefined;
  if (!(await isEqual(signature, await sign(env, claim)))) return undefined;
  return Number(expiryMs) > nowMs ? run : undefined;
}

async function checkToken(
  c: Context<AppEnv>,
  access: Exclude<Access, "open">,
): Promise<void> {
  if (!c.env.API_TOKEN) {
    if (c.env.LOCAL_MODE === "1") return;
    throw new AppError(
      "unauthorized",
      "Expected the secret API_TOKEN to be set, so nobody is let in: run `npx wrangler secret put API_TOKEN`, then send `Authorization: Bearer <API_TOKEN>`",
    );
  }
  const [, token] =
    /^Bearer +(\S+)$/i.exec(c.req.header("Authorization") ?? "") ?? [];
  if (!token) {
    throw new AppError(
      "unauthorized",
      "Expected a header `Authorization: Bearer <API_TOKEN>`, got none of that form",
    );
  }
  if (await isEqual(token, c.env.API_TOKEN)) return;
  const run = await runOfJoinToken(c.env, token);
  if (run === undefined) {
    throw new AppError(
      "unauthorized",
      "Expected the API_TOKEN or a join token that has not expired, got another token",
    );
  }
  const asked = c.req.param("run") ?? run;
  if (access !== "trainer" || asked !== run) {
    throw new AppError(
      "forbidden",
      `Expected a route for trainers of run "${run}", which is all that its join token opens, got ${c.req.method} ${c.req.path}`,
    );
  }
}

/** A page on the web can send requests to this machine, but not with these headers. */
function checkLoopback(c: Context<AppEnv>): void {
  const url = new URL(c.req.url);
  const host = c.req.header("Host") ?? url.host;
  const hostname = host.replace(/:\d*$/, "").toLowerCase();
  if (!LOOPBACK.has(hostname) || !LOOPBACK.has(url.hostname)) {
    throw new AppError(
      "forbidden",
      `Expected a loopback Host in local mode, got "${host}"`,
    );
  }
  const origin = c.req.header("Origin");
  if (origin !== undefined && origin !== `http://${host}`) {
    throw new AppError(
      "forbidden",
      `Expected no Origin but http://${host} in local mode, got "${origin}"`,
    );
  }
}

async function sign(env: Env, claim: string): Promise<string> {
  const secret =
    env.API_TOKEN || (env.LOCAL_MODE === "1" ? LOCAL_KEY : undefined);
  if (!secret)
    throw new AppError(
      "unauthorized",
      "Expected the secret API_TOKEN to be set",
    );
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(`mxfp4-edge join token\n${secret}`),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const signature = await crypto.subtle.sign(
    "HMAC",
    key,
    new TextEncoder().encode(claim),
  );
  return encodeBase64Url(signature).replace("=", "");
}

/** In a time that depends on neither text's content: digests have one length. */
async function isEqual(a: string, b: string): Promise<boolean> {
  const [digestA, digestB] = await Promise.all(
    [a, b].map((text) =>
      crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)),
    ),
  );
  return crypto.subtle.timingSafeEqual(digestA!, digestB!);
}
