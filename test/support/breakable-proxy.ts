/** A way to a server that breaks as networks do: cut for all, or silent for the streams that were open. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export type BreakableProxy = {
  url: string;
  /** Nobody gets through, and who was through is cut off, until `mend`. */
  cut(): void;
  mend(): void;
  /** Connections that asked for `path` stay open, and bear nothing any more. */
  hang(path: string): void;
  close(): Promise<void>;
};

export async function startBreakableProxy(
  target: string,
): Promise<BreakableProxy> {
  const { hostname, port } = new URL(target);
  let isCut = false;
  /** Both ends of each connection, and what was last asked on it. */
  const open = new Map<Socket, { server: Socket; asked: string }>();
  const proxy = createServer((client) => {
    if (isCut) {
      client.destroy();
      return;
    }
    const server = connect(Number(port), hostname);
    open.set(client, { server, asked: "" });
    client.on("data", (bytes) => {
      open.set(client, { server, asked: bytes.toString("latin1") });
    });
    client.pipe(server).pipe(client);
    for (const end of [client, server])
      end
        .on("error", () => end.destroy())
        .on("close", () => {
          open.delete(client);
          client.destroy();
          server.destroy();
        });
  });
  const cutAll = () => {
    for (const client of open.keys()) client.destroy();
  };
  await new Promise<void>((listening) =>
    proxy.listen(0, "127.0.0.1", listening),
  );
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    cut() {
      isCut = true;
      cutAll();
    },
    mend: () => (isCut = false),
    hang(path) {
      for (const [client, { server, asked }] of open)
        if (asked.split("\r\n", 1)[0]!.includes(path)) server.unpipe(client);
    },
    async close() {
      const closed = new Promise((done) => proxy.close(done));
      cutAll();
      await closed;
    },
  };
}
