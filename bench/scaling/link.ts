/** A link between a trainer and an edge: bytes come late, and no faster than it carries. */
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Link } from "./model.ts";

export type Linked = { url: string; close: () => void };

/** When what was sent on it so far is through. */
type Way = { freeMs: number };

/** All connections through it share it; the ways there and back are apart. */
export async function openLink(to: string, link: Link): Promise<Linked> {
  const { hostname, port } = new URL(to);
  const sockets = new Set<Socket>();
  const [there, back]: Way[] = [{ freeMs: 0 }, { freeMs: 0 }];
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => {
        near.destroy();
        far.destroy();
      });
    }
    // One that breaks off takes the other end along.
    carry(near, far, link, there!).catch(() => far.destroy());
    carry(far, near, link, back!).catch(() => near.destroy());
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const own = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${own}`,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** What is read waits for the link to be free, then half a round trip, all in order. */
async function carry(
  from: Socket,
  to: Socket,
  link: Link,
  way: Way,
): Promise<void> {
  let written = Promise.resolve();
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const startMs = Math.max(way.freeMs, performance.now());
    const freeMs = startMs + (1000 * chunk.length) / link.bytesPerSecond;
    way.freeMs = freeMs;
    const arrivesMs = freeMs + 500 * link.roundTrip;
    written = written.then(async () => {
      await until(arrivesMs);
      to.write(chunk);
    });
    await until(freeMs);
  }
  await written;
  to.end();
}

function until(ms: number): Promise<void> {
  return sleep(Math.max(0, ms - performance.now()));
}
