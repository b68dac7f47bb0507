/**
 * Access control.
 *
 *   API_TOKEN set      `Authorization: Bearer <API_TOKEN>`; a join token opens its run's routes for trainers
 *   LOCAL_MODE is "1"  a loopback Host and no foreign Origin; then, without API_TOKEN, everyone
 *   neither            nobody, except for open routes
 *
 * A join token is `join.<run>.<id>.<expiryMs>.<HMAC-SHA-256 of the preceding text, base64url>`. The run looks up by the
 * id whether it is revoked; a later run of the same name does not know the id.
 */
import type { Context } from "hono";
import { AppError } from "../api/errors.ts";
import { OWNER } from "../objects/platform/author.ts";
import { isSigned, sign } from "../objects/platform/signature.ts";
import type { Access } from "./declaration/route.ts";
import type { AppEnv, Env } from "./env.ts";

/** Signs join tokens if there is no secret; safe, since LOCAL_MODE answers loopback only. */
const LOCAL_KEY = "mxfp4-edge local mode";
const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Any valid token; for paths without a route. */
type Known = "known";

/** Refuses requests without access with 401 or 403, and sets `caller` for the others. */
export async function authorize(
  c: Context<AppEnv>,
  access: Access | Known,
): Promise<void> {
  c.set("caller", OWNER);
  if (c.env.LOCAL_MODE === "1") checkLoopback(c);
  if (access !== "open") await checkToken(c, access);
}

/** A token for trainers of `run`, known to it by `id`. Its holders may push gradients. */
export async function joinToken(
  env: Env,
  run: string,
  { id, expiresMs }: { id: string; expiresMs: number },
): Promise<string> {
  const claim = `join.${run}.${id}.${expiresMs}`;
  return `${claim}.${await sign(secretOf(env), claim)}`;
}

/** The contents of a valid join token; undefined if forged, foreign or expired. */
export async function readJoinToken(
  env: Env,
  token: string,
  nowMs = Date.now(),
): Promise<{ run: string; id: string } | undefined> {
  const [, claim, run, id, expiryMs, signature] =
    /^(join\.(.+)\.([\w-]+)\.(\d{1,16}))\.([\w-]+)$/.exec(token) ?? [];
  if (!claim || !run || !id || !signature) return undefined;
  if (!(await isSigned(secretOf(env), claim, signature))) return undefined;
  return Number(expiryMs) > nowMs ? { run, id } : undefined;
}

async function checkToken(
  c: Context<AppEnv>,
  access: Exclude<Access, "open"> | Known,
): Promise<void> {
  const [, token] =
    /^Bearer +(\S+)$/i.exec(c.req.header("Authorization") ?? "") ?? [];
  if (!c.env.API_TOKEN) {
    // In local mode without API_TOKEN, everyone has full access; a join token shown restricts to its own.
    if (c.env.LOCAL_MODE === "1") {
      if (token?.startsWith("join.")) await checkJoinToken(c, access, token);
      return;
    }
    throw new AppError(
      "unauthorized",
      "Expected the secret API_TOKEN to be set; without it nobody has access: run `npx wrangler secret put API_TOKEN`, then send `Authorization: Bearer <API_TOKEN>`",
    );
  }
  if (!token) {
    throw new AppError(
      "unauthorized",
      "Expected a header `Authorization: Bearer <API_TOKEN>`, got none",
    );
  }
  if (await isEqual(token, c.env.API_TOKEN)) return;
  await checkJoinToken(c, access, token);
}

async function checkJoinToken(
  c: Context<AppEnv>,
  access: Exclude<Access, "open"> | Known,
  token: string,
): Promise<void> {
  const read = await readJoinToken(c.env, token);
  if (read === undefined) {
    throw new AppError(
      "unauthorized",
      "Expected the API_TOKEN or a join token that has not expired, got another token",
    );
  }
  if (access === "known") return;
  const { run, id } = read;
  const asked = c.req.param("run") ?? run;
  if (access !== "trainer" || asked !== run) {
    throw new AppError(
      "forbidden",
      `Expected a route for trainers of run "${run}", the only routes that its join token allows, got ${c.req.method} ${c.req.path}`,
    );
  }
  c.set("caller", id);
  c.set("tokenRun", run);
}

/** A web page can send requests to this machine, but not with these headers. */
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

function secretOf(env: Env): string {
  const secret =
    env.API_TOKEN || (env.LOCAL_MODE === "1" ? LOCAL_KEY : undefined);
  if (!secret)
    throw new AppError(
      "unauthorized",
      "Expected the secret API_TOKEN to be set",
    );
  return `mxfp4-edge join token\n${secret}`;
}

/** In time independent of the contents: the digests have equal lengths. */
async function isEqual(a: string, b: string): Promise<boolean> {
  const [digestA, digestB] = await Promise.all(
    [a, b].map((text) =>
      crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)),
    ),
  );
  return crypto.subtle.timingSafeEqual(digestA!, digestB!);
}
