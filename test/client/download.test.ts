/** Downloads over connections that break: the whole file of one version, or a refusal. */
import { expect, test } from "vitest";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";

const BYTES = new Uint8Array(1000).map((_, i) => i);
const OTHER = BYTES.toReversed();

/**
 * A server of one file, whose connections break after so many bytes each, the last ones after 300;
 * `versionAt` tells what is stored at the nth request.
 */
function edgeOf(
  breaks: number[],
  versionAt: (request: number) => Uint8Array = () => BYTES,
  patienceMs?: number,
) {
  const ranges: (string | null)[] = [];
  const edge = new Mxfp4Edge({
    baseUrl: "http://test",
    patienceMs,
    fetcher: {
      fetch(_url, init = {}) {
        const headers = new Headers(init.headers);
        const stored = versionAt(ranges.length);
        const etag = stored === BYTES ? '"a"' : '"b"';
        const isSame = [null, etag].includes(headers.get("If-Range"));
        const range = headers.get("Range");
        ranges.push(range);
        const [first = 0, last = 999] =
          isSame && range ? (range.match(/\d+/g)?.map(Number) ?? []) : [];
        const part = stored.slice(first, last + 1);
        const sent = part.slice(0, breaks.shift() ?? 300);
        const pieces = sent.length > 0 ? [sent] : [];
        const body = new ReadableStream<Uint8Array>(
          {
            pull(controller) {
              const piece = pieces.pop();
              if (piece) controller.enqueue(piece);
              else if (sent.length === part.length) controller.close();
              else controller.error(new Error("broken"));
            },
          },
          { highWaterMark: 0 },
        );
        const response = new Response(body, {
          status: isSame && range ? 206 : 200,
          headers: {
            ETag: etag,
            "Content-Length": `${part.length}`,
            ...(isSame && range
              ? { "Content-Range": `bytes ${first}-${last}/1000` }
              : {}),
          },
        });
        return Promise.resolve(response);
      },
    },
  });
  return { edge, ranges };
}

async function read(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer());
}

test("a file comes whole over as many connections as it takes", async () => {
  const { edge, ranges } = edgeOf([100, 0, 1, 600]);
  const response = await edge.file("f");
  expect([response.status, response.headers.get("ETag")]).toEqual([200, '"a"']);
  expect(await read(response)).toEqual(BYTES);
  expect(ranges).toEqual([
    null,
    "bytes=100-999",
    "bytes=100-999",
    "bytes=101-999",
    "bytes=701-999",
  ]);
});

test("a range goes on within itself", async () => {
  const { edge, ranges } = edgeOf([5]);
  const response = await edge.file("f", { start: 10, end: 30 });
  expect(response.status).toBe(206);
  expect(await read(response)).toEqual(BYTES.slice(10, 30));
  expect(ranges).toEqual(["bytes=10-29", "bytes=15-29"]);
});

test("a file that changed meanwhile is not mixed with what came", async () => {
  const { edge, ranges } = edgeOf([100], (request) =>
    request === 0 ? BYTES : OTHER,
  );
  await expect(edge.file("f").then(read)).rejects.toMatchObject({
    code: "file_changed",
    message: expect.stringContaining('version "b"') as string,
  });
  expect(ranges).toHaveLength(2);
});

test("connections that bring nothing are given up when patience ends", async () => {
  const { edge } = edgeOf(
    [100, ...Array.from({ length: 1000 }, () => 0)],
    undefined,
    60,
  );
  await expect(edge.file("f").then(read)).rejects.toMatchObject({
    code: "unavailable",
    message: expect.stringContaining("got 100 and then") as string,
  });
});

test("what the reader leaves, the server need not send", async () => {
  const { edge, ranges } = edgeOf([100]);
  const response = await edge.file("f");
  await response.body!.cancel();
  expect(ranges).toHaveLength(1);
});
