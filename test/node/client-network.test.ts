/** The client on a real network: what it gives up at once, what after seconds, and what it waits for. */
import { createServer, type Server } from "node:http";
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Socket,
} from "node:net";
import { beforeAll, expect, test } from "vitest";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";

/** The port of a server that is there while `use` runs. */
async function serving<T>(
  server: Pick<Server, "listen" | "close" | "address">,
  use: (port: number) => Promise<T>,
): Promise<T> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use((server.address() as AddressInfo).port);
  } finally {
    (server as Server).closeAllConnections?.();
    server.close();
  }
}

/** Nobody listens on its port. */
let absent: string;
beforeAll(async () => {
  const port = await serving(createServer(), (own) => Promise.resolve(own));
  absent = `http://127.0.0.1:${port}`;
});

test("pushes, one after the other, share connections", async () => {
  const pushes = 4;
  const server = createServer((asked, answer) => {
    // As an edge answers: the body comes after the head.
    asked.resume().once("end", () => {
      answer.writeHead(201, { "Content-Length": 19 }).flushHeaders();
      setTimeout(() => answer.end('{"duplicate":false}'), 20);
    });
  });
  let connections = 0;
  server.on("connection", () => connections++);
  await serving(server, async (port) => {
    const edge = new Mxfp4Edge({ baseUrl: `http://127.0.0.1:${port}` });
    const of = { kind: "train", step: 0, index: 0 } as const;
    const lease = { ...of, key: "key", deadlineMs: 0 };
    for (let push = 0; push < pushes; push++)
      await edge.run("r").push(0, lease, new Uint8Array(8));
  });
  expect(connections).toBeLessThan(pushes);
});

/** Why `use` failed, and after how long. */
async function failure(
  use: (edge: Mxfp4Edge) => Promise<unknown>,
  baseUrl: string,
) {
  const begun = Date.now();
  const edge = new Mxfp4Edge({ baseUrl });
  const error: unknown = await use(edge).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { error, ms: Date.now() - begun };
}

const CALLS: [string, (edge: Mxfp4Edge) => Promise<unknown>][] = [
  ["status", (edge) => edge.run("r").status()],
  ["quantize", (edge) => edge.quantize(new Uint8Array(64))],
  [
    "a stream",
    (edge) => edge.quantize({ stream: new Blob(["x"]).stream(), bytes: 1 }),
  ],
  ["events", (edge) => edge.run("r").events().next()],
];

// Each waits for seconds.
test.concurrent.each(CALLS)(
  "%s: nobody there is told within 5 s, by the URL",
  async (_, call) => {
    const { error, ms } = await failure(call, absent);
    expect(error).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(
        new RegExp(
          `^Expected an answer from ${absent}, got none: .*ECONNREFUSED`,
        ),
      ),
    });
    expect(ms).toBeLessThan(5_000);
  },
);

test("one that takes connections and says nothing, too", async () => {
  const silent = createTcpServer((socket) => socket.on("error", () => {}));
  await serving(silent as never, async (port) => {
    const url = `http://127.0.0.1:${port}`;
    const { error, ms } = await failure(
      (edge) => edge.quantize(new Uint8Array(64)),
      url,
    );
    expect(error).toMatchObject({
      message: expect.stringContaining(
        `answer from ${url}, got none: nothing came within`,
      ),
    });
    expect(ms).toBeLessThan(5_000);
  });
});

// What is tried again takes nearly 4 s.
test.each([
  ["a port that fetch does not use", "http://127.0.0.1:9", /bad port/],
  ["a name that does not exist", "http://none.invalid", /ENOTFOUND|EAI_AGAIN/],
])("%s is told at once", async (_, url, message) => {
  const { error, ms } = await failure((edge) => edge.run("r").status(), url);
  const text = (error as Error).message;
  expect(text).toContain(`answer from ${url}, got none: `);
  expect(text).toMatch(message);
  // Where there is no resolver at all, names may come back later.
  if (!text.includes("EAI_AGAIN")) expect(ms).toBeLessThan(3_000);
});

test.each([
  [
    "a server without TLS",
    "https",
    (socket: Socket) => socket.end("HTTP/1.1 400 Bad\r\n\r\n"),
  ],
  [
    "a mail server",
    "http",
    (socket: Socket) => socket.end("220 mail.example ESMTP\r\n"),
  ],
])("%s asked in %s is asked once", async (_, protocol, answer) => {
  let connections = 0;
  const other = createTcpServer((socket) => {
    connections++;
    socket.on("error", () => {});
    socket.once("data", () => answer(socket));
  });
  await serving(other as never, async (port) => {
    const url = `${protocol}://127.0.0.1:${port}`;
    const { error } = await failure((edge) => edge.run("r").status(), url);
    expect(error).toMatchObject({ message: expect.stringContaining(url) });
    expect(connections).toBe(1);
  });
});

test("one that has answered may go away and come back, longer than an absent one would get", async () => {
  const answer = createServer((_, response) => {
    response.setHeader("Content-Type", "application/json");
    response.end('{"run":"r"}');
  });
  const edge = await serving(answer, async (port) => {
    const client = new Mxfp4Edge({ baseUrl: `http://127.0.0.1:${port}` });
    expect(await client.run("r").status()).toEqual({ run: "r" });
    return { client, port };
  });
  const waiting = edge.client.run("r").status();
  await new Promise((resolve) => setTimeout(resolve, 4_500));
  const again = createServer((_, response) => response.end('{"run":"again"}'));
  await new Promise<void>((resolve) =>
    again.listen(edge.port, "127.0.0.1", resolve),
  );
  try {
    expect(await waiting).toEqual({ run: "again" });
  } finally {
    again.closeAllConnections();
    again.close();
  }
});
