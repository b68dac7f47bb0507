/** Options of the commands on an edge's runs: the edge, and the token. */
import type { ArgsDef } from "citty";
import { shown } from "../api/option-kinds.ts";
import { FILE_NAME, follows } from "../api/text-rules.ts";
import { Client } from "../client/client.ts";
import type { RunClient } from "../client/run-client.ts";
import { flag, operand, valued } from "./argument.ts";
import { variable } from "./environment.ts";
import { type Arguments, asTyped, UsageError } from "./file-arguments.ts";

/** Where `npm start` serves. */
const LOCAL_URL = "http://127.0.0.1:8787";

export const edgeArguments = {
  url: valued("URL", `The edge (default: $MXFP4_EDGE_URL, or ${LOCAL_URL})`),
  token: valued("TOKEN", "The edge's API_TOKEN (default: $MXFP4_EDGE_TOKEN)"),
  json: flag("Print JSON"),
} satisfies ArgsDef;

export const runArgument = {
  run: operand("Id of the run; `mxfp4-edge runs` lists them"),
} satisfies ArgsDef;

export type EdgeAddress = { baseUrl: string; token: string | undefined };

/** `place`: the argument of the URL. Errors: `UsageError` for an invalid URL or token */
export function addressOf(given: Arguments, place = "--url"): EdgeAddress {
  const { url, token } = given as { url?: string; token?: string };
  const address = {
    baseUrl: url ?? variable("MXFP4_EDGE_URL") ?? LOCAL_URL,
    token: token ?? variable("MXFP4_EDGE_TOKEN"),
  };
  asTyped(() => new Client(address), {
    baseUrl: url === undefined ? "$MXFP4_EDGE_URL" : place,
    token: token === undefined ? "$MXFP4_EDGE_TOKEN" : "--token",
  });
  return address;
}

export function clientOf(given: Arguments): Client {
  return new Client(addressOf(given));
}

export function runOf(given: Arguments): RunClient {
  return clientOf(given).run(given.run as string);
}

/** The run of a join token; undefined for other tokens. */
export function runOfToken(token: string | undefined): string | undefined {
  return /^join\.(.+)\.[\w-]+\.\d{1,16}\.[\w-]+$/.exec(token ?? "")?.[1];
}

/** Checks the name of a file or folder on an edge, typed at `place`. Errors: `UsageError` */
export function checkTypedName(place: string, name: string): void {
  if (follows(FILE_NAME, name)) return;
  throw new UsageError(
    `Expected ${place} to be ${FILE_NAME.words}, got ${shown(name)}`,
  );
}
