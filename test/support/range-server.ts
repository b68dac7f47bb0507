/** A server of one directory on 127.0.0.1, by ranges, with the troubles that a network has. */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export type RangeServer = {
  /** Without a slash at its end. */
  url: string;
  /** Requests so far: their paths and what authorized them. */
  requests: { path: string; authorization: string | undefined }[];
  close(): Promise<void>;
};

/** What happens to a request before it is answered; true where it has been. */
export type Trouble = (
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
) => boolean;

/** The range that would be sent: `bytes` may be cut, headers changed. */
type Answer = {
  status: number;
  headers: Record<string, string>;
  bytes: Buffer;
};

export async function startRangeServer(
  folder: string,
  troubles: Record<string, Trouble> = {},
): Promise<RangeServer> {
  const requests: RangeServer["requests"] = [];
  /** Files as they were read, by path, size and time: large ones are asked for piece by piece. */
  const known = new Map<string, Whole>();
  const wholeOf = (path: string): Whole | undefined => {
    const status = statSync(path, { throwIfNoEntry: false });
    if (!status) return undefined;
    const key = JSON.stringify([path, status.size, status.mtimeMs]);
    const found = known.get(key) ?? readWhole(path);
    known.set(key, found);
    return found;
  };
  const server = createServer((request, response) => {
    const [, first = "", ...rest] = request
      .url!.split("?")[0]!
      .split("/")
      .map(decodeURIComponent);
    const { authorization } = request.headers;
    requests.push({ path: request.url!, authorization });
    const trouble = Object.hasOwn(troubles, first)
      ? troubles[first]
      : undefined;
    const path = join(folder, ...(trouble ? rest : [first, ...rest]));
    const answer = answerTo(request, wholeOf(path));
    if (trouble?.(request, response, answer)) return;
    response.writeHead(answer.status, {
      "Content-Length": answer.bytes.length,
      ...answer.headers,
    });
    response.end(answer.bytes);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

type Whole = { bytes: Buffer; etag: string };

function readWhole(path: string): Whole {
  const bytes = readFileSync(path);
  const etag = `"${createHash("sha256").update(bytes).digest("hex")}"`;
  return { bytes, etag };
}

function answerTo(request: IncomingMessage, found: Whole | undefined): Answer {
  if (!found) return { status: 404, headers: {}, bytes: Buffer.alloc(0) };
  const { bytes: whole, etag } = found;
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (!range) return { status: 200, headers: { ETag: etag }, bytes: whole };
  const start = Number(range[1]);
  const end = Math.min(whole.length, Number(range[2]) + 1);
  const isOutside = start >= whole.length;
  return {
    status: isOutside ? 416 : 206,
    headers: {
      ETag: etag,
      "Content-Range": isOutside
        ? `bytes */${whole.length}`
        : `bytes ${start}-${end - 1}/${whole.length}`,
    },
    bytes: isOutside ? Buffer.alloc(0) : whole.subarray(start, end),
  };
}
