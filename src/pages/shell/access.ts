/** Who this page is to the edge. A token stays for this tab's session, and goes as a header only. */
import { messageOf } from "../../api/errors.ts";
import { signal } from "@preact/signals";
import type { AppError } from "../../api/errors.ts";
import type { ServiceVersion } from "../../api/service-version.ts";
import { Client } from "../../client/client.ts";

const KEY = "mxfp4-edge token";
/** Somebody waits: what gets no answer for so long says so. */
const PATIENCE_MS = 4_000;

/** What answers; undefined until it has. */
export const service = signal<ServiceVersion | undefined>(undefined);

/** Whether a token is wanted, or another than was given; null until known. */
export const isLetIn = signal<boolean | null>(null);

export const refusal = signal("");

function token(): string | undefined {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** The API on this very server, which has served this page: nobody need ask whether it is there. */
export function client(signal?: AbortSignal): Client {
  const fetcher = {
    async fetch(url: string, init?: RequestInit) {
      const answer = await fetch(url, init);
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

/** What a Worker needs to be a client too. */
export function credentials(): { baseUrl: string; token: string | undefined } {
  return { baseUrl: location.origin, token: token() };
}

/** Ask who is let in, and whether this tab is. */
export async function enter(given?: string): Promise<void> {
  refusal.value = "";
  if (given !== undefined) sessionStorage.setItem(KEY, given);
  try {
    const answer = await fetch("/version");
    service.value = (await answer.json()) as ServiceVersion;
    const { access } = service.value;
    if (access === "all" || (access === "token" && token() !== undefined)) {
      await client().runs();
      isLetIn.value = true;
      return;
    }
  } catch (error) {
    // Where nothing answers, the token may be right all the same.
    const { code } = error as Partial<AppError>;
    if (code === "unauthorized" || code === "forbidden")
      sessionStorage.removeItem(KEY);
    refusal.value = messageOf(error);
  }
  isLetIn.value = false;
}

/** A token that was good is so no more: the door says why. */
function shutOut(): void {
  leave();
  refusal.value =
    "Expected a token that the edge takes, got one that it takes no more";
}

/** Forget the token. */
export function leave(): void {
  sessionStorage.removeItem(KEY);
  isLetIn.value = false;
}
