/** The page's access to the edge. A token is kept for this tab's session, and sent as a header only. */
import { messageOf } from "../../api/errors.ts";
import { signal } from "@preact/signals";
import type { AppError } from "../../api/errors.ts";
import type { ServiceVersion } from "../../api/service-version.ts";
import { Client } from "../../client/client.ts";
import { withTimeout } from "../../client/with-timeout.ts";
import { hearTime } from "./server-clock.ts";

const KEY = "mxfp4-edge token";
/** The user waits: gives up without an answer after this time. */
const PATIENCE_MS = 4_000;

/** As long as a request of the client may take. */
const ANSWER_MS = 30_000;

/** The service; undefined until it has answered. */
export const service = signal<ServiceVersion | undefined>(undefined);

/** Whether this tab has access; null until known. */
export const isLetIn = signal<boolean | null>(null);

export const refusal = signal("");

function token(): string | undefined {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** A client of this server, which has served the page. */
export function client(signal?: AbortSignal): Client {
  const fetcher = {
    async fetch(url: string, init?: RequestInit) {
      const sentMs = Date.now();
      const answer = await fetch(url, init);
      hearTime(answer.headers.get("Date"), sentMs);
      if (answer.status === 401 && isLetIn.value) shutOut();
      return answer;
    },
  };
  return new Client({
    ...credentials(),
    fetcher,
    signal,
    patienceMs: PATIENCE_MS,
  });
}

/** For a Worker to create its own client. */
export function credentials(): { baseUrl: string; token: string | undefined } {
  return { baseUrl: location.origin, token: token() };
}

/** Finds out who has access, and whether this tab has. */
export async function enter(given?: string): Promise<void> {
  refusal.value = "";
  if (given !== undefined) sessionStorage.setItem(KEY, given);
  try {
    const answer = await withTimeout(ANSWER_MS, undefined, (signal) =>
      fetch("/version", { signal }),
    );
    service.value = (await answer.json()) as ServiceVersion;
    const { access } = service.value;
    if (access === "all" || (access === "token" && token() !== undefined)) {
      await client().runs();
      isLetIn.value = true;
      return;
    }
  } catch (error) {
    // If nothing answers, the token may still be valid.
    const { code } = error as Partial<AppError>;
    if (code === "unauthorized" || code === "forbidden")
      sessionStorage.removeItem(KEY);
    refusal.value = messageOf(error);
  }
  isLetIn.value = false;
}

/** The token is not valid any more: shows why. */
function shutOut(): void {
  leave();
  refusal.value =
    "Expected a token that the edge takes, got one that it takes no more";
}

/** Forgets the token. */
export function leave(): void {
  sessionStorage.removeItem(KEY);
  isLetIn.value = false;
}
