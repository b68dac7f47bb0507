/** What trainers in Node ask by `node:http`: as by `fetch`, on a real network. */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
} from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { NodeFetcher } from "../../src/cli/node-fetcher.ts";

const closing: (() => void)[] = [];
afterEach(() => closing.splice(0).forEach((close) => close()));

/** A server, the connections that it was asked over, and its URL. */
async function serve(listener: RequestListener) {
  const server = createServer((asked, answer) => {
    // Whether there is a server at all is asked first.
    if (asked.url === "/healthz") answer.end();
    else listener(asked, answer);
  });
  const served = { url: "", connections: 0 };
  server.on("connection", () => served.connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  served.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return served;
}

const runAt = (baseUrl: string) =>
  new Client({ baseUrl, token: "secret", fetcher: new NodeFetcher() }).run("r");

async function bytesOf(asked: IncomingMessage): Promise<Buffer> {
  return Buffer.concat(await asked.toArray());
}

const LEASE = { kind: "train", step: 3, index: 1, key: "key", deadlineMs: 0 };
const lease = LEASE as typeof LEASE & { kind: "train" };
const FRAME = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7);

test("pushes bear all bytes, their length, the lease's key and the token, over one connection", async () => {
  const came: { length: string | undefined; body: Buffer }[] = [];
  const server = await serve((asked, answer) => {
    const { headers, method, url } = asked;
    expect([method, url]).toEqual(["PUT", "/v1/runs/r/shards/2/gradients/3/1"]);
    expect(headers["lease-key"]).toBe("key");
    expect(headers.authorization).toBe("Bearer secret");
    void bytesOf(asked).then((body) => {
      came.push({ length: headers["content-length"], body });
      answer.writeHead(201).end('{"duplicate":false}');
    });
  });
  const run = runAt(server.url);
  for (let push = 0; push < 3; push++) await run.push(2, lease, FRAME);
  for (const { length, body } of came) {
    expect(length).toBe("3000000");
    expect(body.equals(FRAME)).toBe(true);
  }
  expect([came.length, server.connections]).toEqual([3, 1]);
});

const TEXT = JSON.stringify({ run: "r", name: "é".repeat(200_000) });
test.each<[string, RequestListener]>([
  [
    "of a length that is told",
    (_, answer) => {
      answer.setHeader("Content-Length", Buffer.byteLength(TEXT));
      answer.end(TEXT);
    },
  ],
  [
    "in chunks",
    (_, answer) => (answer.write(TEXT.slice(0, 9)), answer.end(TEXT.slice(9))),
  ],
  [
    "that is elsewhere",
    ({ url, headers }, answer) => {
      expect(headers.authorization).toBe("Bearer secret");
      if (url === "/elsewhere") answer.end(TEXT);
      else answer.writeHead(307, { Location: "/elsewhere" }).end();
    },
  ],
  [
    "that is compressed",
    (_, answer) =>
      answer.setHeader("Content-Encoding", "gzip").end(gzipSync(TEXT)),
  ],
])("an answer %s is read whole", async (_, listener) => {
  const { url } = await serve(listener);
  expect(JSON.stringify(await runAt(url).status())).toBe(TEXT);
});

test.each([true, false])(
  "an answer that breaks off is asked for again; its length told: %s",
  async (isTold) => {
    let asked = 0;
    const { url } = await serve((_, answer) => {
      asked++;
      if (isTold) answer.setHeader("Content-Length", Buffer.byteLength(TEXT));
      if (asked > 2) answer.end(TEXT);
      else answer.write(TEXT.slice(0, 5_000), () => answer.destroy());
    });
    expect(JSON.stringify(await runAt(url).status())).toBe(TEXT);
    expect(asked).toBe(3);
  },
);

test("a connection that the server has let go of meanwhile costs nothing but another", async () => {
  const server = await serve((_, answer) => {
    answer.shouldKeepAlive = true;
    answer.end('{"run":"r"}', () => setTimeout(() => answer.socket?.destroy()));
  });
  const run = runAt(server.url);
  for (let i = 0; i < 5; i++) expect(await run.status()).toEqual({ run: "r" });
});

test("a refusal is the error that the server threw", async () => {
  const { url } = await serve((_, answer) => {
    answer.writeHead(409, { "Content-Type": "application/problem+json" });
    answer.end('{"code":"no_lease","detail":"Expected a lease"}');
  });
  await expect(runAt(url).push(0, lease, FRAME)).rejects.toMatchObject({
    code: "no_lease",
    message: "Expected a lease",
  });
});

test("events come as they are told", async () => {
  const event = { id: 1, type: "state", state: "running" };
  const { url } = await serve((_, answer) => {
    answer.setHeader("Content-Type", "text/event-stream");
    answer.write(`id: 1\ndata: ${JSON.stringify(event)}\n\n`);
  });
  const events = runAt(url).events();
  expect((await events.next()).value).toMatchObject(event);
  await events.return(undefined);
});

test("nobody there, and one who says nothing, are told by the URL", async () => {
  const gone = await serve(() => {});
  const silent = createServer(() => {});
  await new Promise<void>((done) => silent.listen(0, "127.0.0.1", done));
  closing.splice(0).forEach((close) => close());
  closing.push(() => (silent.closeAllConnections(), silent.close()));
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  // Each waits for seconds.
  await Promise.all([
    expect(runAt(gone.url).status()).rejects.toThrow(
      `Expected an answer from ${gone.url}, got none: connect ECONNREFUSED`,
    ),
    expect(runAt(url).status()).rejects.toThrow(
      `Expected an answer from ${url}, got none: nothing came within`,
    ),
  ]);
});

test("a signal ends a request that waits", async () => {
  const stop = new AbortController();
  const { url } = await serve(() => stop.abort(new Error("enough")));
  const fetcher = new NodeFetcher();
  const run = new Client({ baseUrl: url, fetcher, signal: stop.signal }).run(
    "r",
  );
  await expect(run.status()).rejects.toThrow("enough");
});
