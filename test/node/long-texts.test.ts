/** A config or an index of any length may lie beside weights: what is too long is not read. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { remoteFolder } from "../../src/cli/ranged-files.ts";
import { PinnedFolder } from "../../src/objects/job/pinned-folder.ts";
import type { PinnedFile } from "../../src/objects/job/pinned-file.ts";

const LIMIT = 48 * 1024 * 1024;

test("of a job's folder, before anything is read", async () => {
  const file = { name: "config.json", bytes: LIMIT + 1 } as PinnedFile;
  const { folder } = new PinnedFolder([file], () => {
    throw new Error("read");
  });
  await expect(folder.text("config.json")).rejects.toThrow(
    `Expected config.json to have at most ${LIMIT} bytes, got ${LIMIT + 1}`,
  );
});

test("of a folder by http, as it comes: compressed, without a length", async () => {
  const texts: Record<string, Buffer> = {
    "/config.json": Buffer.alloc(LIMIT + 1, " "),
    "/fits.json": Buffer.from(`${" ".repeat(70_000)}ü`),
  };
  const server = createServer(({ url }, response) => {
    response.writeHead(200, { "Content-Encoding": "gzip" });
    response.end(gzipSync(texts[url!]!));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    const { port } = server.address() as AddressInfo;
    const folder = remoteFolder(`http://127.0.0.1:${port}/`, undefined);
    expect(await folder.text("fits.json")).toBe(`${" ".repeat(70_000)}ü`);
    await expect(folder.text("config.json")).rejects.toThrow(
      /^Expected http:.*\/config\.json to have at most 50331648 bytes, got \d+$/,
    );
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
