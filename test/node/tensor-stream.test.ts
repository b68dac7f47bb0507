/** Streams of tensors over the network: broken off, slow, and many at once. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { normals } from "../support/random.ts";

const MIB = 2 ** 20;

const PATIENCE = { timeout: 10_000 };

const REFUSED: [what: string, path: string, type: string, method?: string][] = [
  ["no such route", "/v1/other", "application/octet-stream"],
  ["no such option", "/v1/quantize?other=1", "application/octet-stream"],
  ["another content type", "/v1/quantize", "text/plain"],
  ["a head that is none", "/v1/quantize", "application/octet-stream"],
  ["operands that are none", "/v1/gemm", "application/octet-stream"],
  ["a name that is none", "/v1/files/a%0Ab", "application/octet-stream", "PUT"],
  ["a config that is none", "/v1/runs", "application/json"],
];

let stateFolder: string;
let edge: Running;

beforeAll(async () => {
  stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-edge-stream-"));
  edge = await startEdge({ stateFolder, quiet: true });
});

afterAll(async () => {
  await edge.close();
  rmSync(stateFolder, { recursive: true, force: true });
});

/** One tensor of `mib` MiB. */
function file(mib: number, seed: number): Uint8Array<ArrayBuffer> {
  const values = normals((mib * MIB) / 4, seed);
  const head = { name: "w", dtype: "F32" as const, shape: [values.length] };
  const written = writeHead([head], new Map()).head;
  const whole = new Uint8Array(written.length + values.byteLength);
  whole.set(written);
  whole.set(new Uint8Array(values.buffer), written.length);
  return whole;
}

/** A whole body on a connection of its own, and the whole answer. */
async function whole(path: string, body: Uint8Array): Promise<Uint8Array> {
  const { call, response } = open(path, body.length);
  call.end(body);
  const answer = await response;
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  if (answer.statusCode !== 200) throw new Error(bytes.toString());
  expect(bytes.length).toBe(Number(answer.headers["content-length"]));
  return bytes;
}

/** A request whose body the test sends as it likes, and what became of it. */
function open(path: string, bytes: number) {
  const call = request(`${edge.url}${path}`, {
    method: "POST",
    agent: false,
    headers: { "Content-Length": bytes },
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    call.on("response", resolve);
    call.on("error", reject);
  });
  // A request that the test breaks off fails on purpose.
  response.catch(() => {});
  return { call, response };
}

test("16 requests of 8 MiB at once have the bytes that each has alone", async () => {
  const query = "?rounding=stochastic&hadamard=64&seed=7";
  const bodies = [file(8, 1), file(8, 2)];
  const send = (body: Uint8Array) => whole(`/v1/quantize${query}`, body);
  const alone = [await send(bodies[0]!), await send(bodies[1]!)];
  const together = await Promise.all(
    Array.from({ length: 16 }, (_, i) => send(bodies[i % 2]!)),
  );
  for (const [i, bytes] of together.entries())
    expect(Buffer.compare(bytes, alone[i % 2]!)).toBe(0);

  const back = () => whole("/v1/dequantize?dtype=bf16", alone[0]!);
  const one = await back();
  const all = await Promise.all(Array.from({ length: 16 }, back));
  for (const bytes of all) expect(Buffer.compare(bytes, one)).toBe(0);
});

test("a body that breaks off breaks the answer off", async () => {
  const body = file(8, 3);
  const { call, response } = open("/v1/quantize", body.length);
  call.write(body.subarray(0, body.length / 2));
  const answer = await response;
  expect(answer.statusCode).toBe(200);
  const declared = Number(answer.headers["content-length"]);
  let bytes = 0;
  const ended = new Promise<string>((resolve) => {
    answer.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MIB / 4) call.destroy();
    });
    answer.on("end", () => resolve("end"));
    answer.on("error", () => resolve("error"));
    answer.on("close", () => resolve("close"));
  });
  expect(await ended).not.toBe("end");
  expect(bytes).toBeLessThan(declared);
  expect((await fetch(`${edge.url}/healthz`)).status).toBe(200);
});

describe("where pages are served, by what hands requests on to the Worker,", () => {
  let served: Running;
  beforeAll(async () => {
    const pagesState = join(stateFolder, "pages");
    mkdirSync(pagesState);
    served = await startEdge({
      stateFolder: pagesState,
      quiet: true,
      pages: true,
    });
  });
  afterAll(() => served.close());

  test.each(REFUSED)(
    "who is refused for %s amid 8 MiB is told so, and sends them to their end",
    async (_what, path, type, method = "POST") => {
      for (const { url } of [edge, served]) {
        const { port } = new URL(url);
        const socket = connect(Number(port), "127.0.0.1").setNoDelay();
        let answer = "";
        let failed: Error | undefined;
        socket.on("error", (error) => (failed = error));
        socket.setEncoding("latin1").on("data", (part) => (answer += part));
        const more = (bytes: Uint8Array | string) =>
          new Promise<void>((sent) => socket.write(bytes, () => sent()));
        await more(
          `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nContent-Length: ${8 * MIB}\r\n\r\n`,
        );
        await more(Buffer.alloc(MIB / 4, " "));
        // It is there before the body is.
        await expect
          .poll(() => answer, PATIENCE)
          .toMatch(/^HTTP\/1\.1 4[^]*\}$/);
        for (let sent = MIB / 4; sent < 8 * MIB; sent += MIB / 4) {
          await more(Buffer.alloc(MIB / 4, " "));
          // A connection that was given up would say so by now.
          if (sent === MIB) await new Promise((wake) => setTimeout(wake, 100));
        }
        expect(failed).toBeUndefined();
        socket.destroy();
      }
    },
  );

  test("who goes on sending what is refused is not listened to for ever", async () => {
    const { port } = new URL(served.url);
    const socket = connect(Number(port), "127.0.0.1");
    const closed = new Promise<string>((tell) => {
      socket.on("close", () => tell("closed")).on("error", () => {});
    });
    socket.write(
      `POST /v1/other HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${64 * 2 ** 30}\r\n\r\n`,
    );
    const piece = Buffer.alloc(MIB);
    const feed = (): void => {
      while (!socket.destroyed && socket.write(piece));
      if (!socket.destroyed) socket.once("drain", feed);
    };
    feed();
    expect(await closed).toBe("closed");
    expect((await fetch(`${served.url}/healthz`)).status).toBe(200);
  });

  test.each(REFUSED)(
    "who is refused for %s sends the next request on the same connection",
    async (_what, path, type, method = "POST") => {
      const { port } = new URL(served.url);
      const socket = connect(Number(port), "127.0.0.1");
      const head = (line: string) => `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;
      const body = "\x08\0\0\0\0\0\0\0{not JSON, and more of it";
      const asked = `${head(`${method} ${path}`)}Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`;
      // What comes with the head would be read with it.
      await new Promise((sent) => socket.setNoDelay().write(asked, sent));
      socket.write(body);
      const [REFUSAL, NEXT] = [/^HTTP\/1\.1 4[^]*\}$/, /\}HTTP\/1\.1 2/];
      let answers = "";
      let isSent = false;
      try {
        for await (const chunk of socket.setEncoding("latin1")) {
          answers += chunk as string;
          if (NEXT.test(answers)) break;
          if (isSent || !REFUSAL.test(answers)) continue;
          isSent = true;
          // By then a connection that is given up is closed; one that is kept is there however long this takes.
          await new Promise((wake) => setTimeout(wake, 100));
          socket.write(`${head("GET /healthz")}\r\n`);
        }
      } finally {
        socket.destroy();
      }
      expect(answers).toMatch(NEXT);
    },
  );
});

test("a reader that is slow holds the sender back", async () => {
  const body = file(64, 4);
  const slow = open("/v1/hadamard?direction=forward", body.length);
  let sent = 0;
  const feed = (): void => {
    while (sent < body.length) {
      const next = Math.min(body.length, sent + MIB / 4);
      const piece = body.subarray(sent, next);
      sent = next;
      if (!slow.call.write(piece)) {
        slow.call.once("drain", feed);
        return;
      }
    }
    slow.call.end();
  };
  feed();
  const answer = await slow.response;
  answer.pause();
  await new Promise((wake) => setTimeout(wake, 1000));
  const held = sent;
  // Some MiB are in sockets' buffers; the body is 64.
  expect(held).toBeLessThan(32 * MIB);
  let bytes = 0;
  for await (const chunk of answer) bytes += (chunk as Buffer).length;
  expect(bytes).toBe(Number(answer.headers["content-length"]));
  expect(sent).toBe(body.length);
});

test("a client that leaves ends the work", async () => {
  const body = file(64, 5);
  const leaving = open("/v1/quantize", body.length);
  leaving.call.write(body.subarray(0, MIB));
  const answer = await leaving.response;
  answer.on("error", () => {});
  leaving.call.destroy();
  // Together these hold more than there is; those that leave give it back.
  const packed = await whole("/v1/quantize", body);
  for (let i = 0; i < 7; i++) {
    const stopped = open("/v1/dequantize", packed.length);
    stopped.call.write(packed.subarray(0, packed.length - 1));
    await new Promise((wake) => setTimeout(wake, 100));
    stopped.call.destroy();
  }
  const { length } = await whole("/v1/dequantize", packed);
  expect(length).toBeGreaterThan(body.length / 2); // f32 again, head included
});

/** Of the edge's ledger, which another reservation alone would have forget what counts as dead. */
async function heldBytes(): Promise<number> {
  const text = await (await fetch(`${edge.url}/metrics`)).text();
  return Number(/^\S*memory_held_bytes (\S+)$/m.exec(text)![1]);
}

/** `a` and `b`, whose product of 8 MiB no socket's buffers hold. */
function operands(): Uint8Array {
  const columns = 128;
  const heads = [
    { name: "a", dtype: "F32" as const, shape: [2048, columns] },
    { name: "b", dtype: "F32" as const, shape: [1024, columns] },
  ];
  const { head } = writeHead(heads, new Map());
  const values = normals(3072 * columns, 9);
  return Buffer.concat([head, new Uint8Array(values.buffer)]);
}

test.each([
  ["/v1/quantize", () => file(32, 7)],
  ["/v1/hadamard?direction=forward", () => file(32, 7)],
  ["/v1/gemm", operands],
])(
  "what %s reserves for a client that leaves is given back, every time",
  async (path, bodyOf) => {
    const body = bodyOf();
    const isWhole = path === "/v1/gemm";
    // The kernels' memory grows as they are used first.
    await whole(path, body);
    await whole(path, body);
    const before = await heldBytes();
    for (let i = 0; i < 10; i++) {
      const { call, response } = open(path, body.length);
      call.on("error", () => {});
      // Not all of it: the answer, too, waits for more.
      if (isWhole) call.end(body);
      else call.write(body.subarray(0, body.length / 4));
      const answer = await response;
      answer.on("error", () => {});
      answer.pause();
      expect(await heldBytes()).toBeGreaterThan(before);
      call.destroy();
      await expect.poll(heldBytes).toBe(before);
    }
  },
);

test("the answer begins before the body has ended", async () => {
  const body = file(8, 6);
  const { call, response } = open("/v1/quantize", body.length);
  call.write(body.subarray(0, 2 * MIB));
  const answer = await response;
  await new Promise((wake) => answer.once("data", wake));
  call.end(body.subarray(2 * MIB));
  answer.resume();
  await new Promise((wake) => answer.once("end", wake));
  expect(answer.complete).toBe(true);
});

test("files of 16,000 tensors are answered, also several at once", async () => {
  const heads = Array.from({ length: 16_000 }, (_, i) => ({
    name: `layer.${i}.weight`,
    dtype: "F32" as const,
    shape: [32],
  }));
  const { head, dataBytes } = writeHead(heads, new Map());
  const body = new Uint8Array(head.length + dataBytes);
  body.set(head);
  const all = await Promise.all(
    Array.from({ length: 4 }, () => whole("/v1/quantize", body)),
  );
  for (const bytes of all) expect(Buffer.compare(bytes, all[0]!)).toBe(0);
});
