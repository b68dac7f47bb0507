/** A server of one directory on 127.0.0.1, by ranges, with the troubles that a network has. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
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
  const server = createServer((request, response) => {
    const [, first = "", ...rest] = request.url!.split("?")[0]!.split("/");
    const { authorization } = request.headers;
    requests.push({ path: request.url!, authorization });
    const trouble = Object.hasOwn(troubles, first)
      ? troubles[first]
      : undefined;
    const path = join(folder, ...(trouble ? rest : [first, ...rest]));
    const whole = existsSync(path) ? readFileSync(path) : undefined;
    const answer = answerTo(request, whole);
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

function answerTo(request: IncomingMessage, whole: Buffer | undefined): Answer {
  if (!whole) return { status: 404, headers: {}, bytes: Buffer.alloc(0) };
  const etag = `"${createHash("sha256").update(whole).digest("hex")}"`;
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
