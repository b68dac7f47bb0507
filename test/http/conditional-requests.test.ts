/** What conditions and ranges of requests make of their answers, as RFC 9110 §13 and §14 say. */
import { beforeAll, describe, expect, test } from "vitest";
import { bindings } from "../support/jobs.ts";
import { problemOf, send } from "./support.ts";

const BYTES = new Uint8Array(100).map((_, i) => i);
const PAST = "Sun, 06 Nov 1994 08:49:37 GMT";
const FUTURE = "Sun, 06 Nov 2124 08:49:37 GMT";

type Row = [headers: Record<string, string>, status: number, range?: string];

/** `E` stands for the ETag, `D` for Last-Modified. */
const TABLE: Row[] = [
  // Ranges
  [{ Range: "bytes=10-19" }, 206, "10-19"],
  [{ Range: "BYTES=10-19" }, 206, "10-19"],
  [{ Range: "bytes=, 10-19 ,," }, 206, "10-19"],
  [{ Range: "bytes=90-" }, 206, "90-99"],
  [{ Range: "bytes=99-99" }, 206, "99-99"],
  [{ Range: "bytes=0-99999999999999999999" }, 206, "0-99"],
  [{ Range: "bytes=-7" }, 206, "93-99"],
  [{ Range: "bytes=-99999999999999999999" }, 206, "0-99"],
  [{ Range: "bytes=100-" }, 416],
  [{ Range: "bytes=99999999999999999999-" }, 416],
  [{ Range: "bytes=-0" }, 416],
  [{ Range: "bytes=9-5" }, 416],
  [{ Range: "bytes=" }, 416],
  [{ Range: "bytes=-" }, 416],
  [{ Range: "bytes=a-b" }, 416],
  [{ Range: "bytes=0-1,5-6" }, 416],
  [{ Range: "lines=0-1" }, 200],
  [{ Range: "tokens=x" }, 200],
  [{ Range: "no range" }, 200],
  // If-Range: a strong tag, the very one
  [{ Range: "bytes=0-1", "If-Range": "E" }, 206, "0-1"],
  [{ Range: "bytes=0-1", "If-Range": '"other"' }, 200],
  [{ Range: "bytes=0-1", "If-Range": "W/E" }, 200],
  [{ Range: "bytes=0-1", "If-Range": "D" }, 200],
  [{ Range: "bytes=0-1", "If-Range": PAST }, 200],
  [{ Range: "bytes=500-", "If-Range": '"other"' }, 200],
  [{ "If-Range": "E" }, 200],
  // If-Match: strong
  [{ "If-Match": "E" }, 200],
  [{ "If-Match": '"other", E' }, 200],
  [{ "If-Match": "*" }, 200],
  [{ "If-Match": '"other"' }, 412],
  [{ "If-Match": "W/E" }, 412],
  [{ "If-Match": "no tag" }, 412],
  [{ "If-Match": "E", Range: "bytes=0-1" }, 206, "0-1"],
  [{ "If-Match": '"other"', Range: "bytes=0-1" }, 412],
  [{ "If-Match": '"other"', Range: "bytes=500-" }, 412],
  // If-None-Match: weak
  [{ "If-None-Match": "E" }, 304],
  [{ "If-None-Match": "W/E" }, 304],
  [{ "If-None-Match": '"other",E' }, 304],
  [{ "If-None-Match": "*" }, 304],
  [{ "If-None-Match": '"other"' }, 200],
  [{ "If-None-Match": "E", Range: "bytes=0-1" }, 304],
  [{ "If-None-Match": '"other"', Range: "bytes=0-1" }, 206, "0-1"],
  [{ "If-Match": '"other"', "If-None-Match": "E" }, 412],
  // Dates, where no tags are told
  [{ "If-Modified-Since": "D" }, 304],
  [{ "If-Modified-Since": FUTURE }, 304],
  [{ "If-Modified-Since": PAST }, 200],
  [{ "If-Modified-Since": "yesterday" }, 200],
  [{ "If-Modified-Since": "2124-01-01" }, 200],
  [{ "If-Modified-Since": FUTURE, "If-None-Match": '"other"' }, 200],
  [{ "If-Unmodified-Since": "D" }, 200],
  [{ "If-Unmodified-Since": PAST }, 412],
  [{ "If-Unmodified-Since": PAST, "If-Match": "E" }, 200],
];

describe.each(["/v1/files/table", "/v1/datasets/table/tokens"])(
  "%s",
  (path) => {
    let etag: string;
    let storedAt: string;

    const fill = (headers: Record<string, string>): Record<string, string> =>
      Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [
          name,
          value === "D" ? storedAt : value.replace(/\bE$/, etag),
        ]),
      );

    beforeAll(async () => {
      await put("table", BYTES);
      await put("table", BYTES, {}, "datasets");
      const { headers } = await send(path);
      etag = headers.get("ETag")!;
      storedAt = headers.get("Last-Modified")!;
      expect(etag).toMatch(/^"[^"]+"$/);
      expect(new Date(storedAt).toUTCString()).toBe(storedAt);
    });

    test.each(TABLE)("%j: %d %s", async (headers, status, range = "0-99") => {
      const response = await send(path, { headers: fill(headers) });
      if (status === 412)
        return void (await problemOf(response, 412, "precondition_failed"));
      if (status === 416) {
        expect(response.headers.get("Content-Range")).toBe("bytes */100");
        return void (await problemOf(response, 416, "range_not_satisfiable"));
      }
      expect(response.status).toBe(status);
      expect(response.headers.get("ETag")).toBe(etag);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (status === 304) return expect(bytes).toHaveLength(0);
      const [first = 0, last = 0] = range.split("-").map(Number);
      expect(bytes).toEqual(BYTES.slice(first, last + 1));
      expect(response.headers.get("Last-Modified")).toBe(storedAt);
      expect(response.headers.get("Accept-Ranges")).toBe("bytes");
      expect(response.headers.get("Content-Length")).toBe(`${bytes.length}`);
      expect(response.headers.get("Content-Range")).toBe(
        status === 206 ? `bytes ${range}/100` : null,
      );
    });

    test.each([
      [{}, 200],
      [{ Range: "bytes=0-9" }, 200],
      [{ "If-None-Match": "E" }, 304],
      [{ "If-Match": '"other"' }, 412],
    ] as const)("HEAD %j: %d without a body", async (headers, status) => {
      const response = await send(path, {
        method: "HEAD",
        headers: fill(headers),
      });
      expect(response.status).toBe(status);
      expect(response.body).toBeNull();
      if (status !== 200) return;
      expect(response.headers.get("Content-Length")).toBe("100");
      expect(response.headers.get("ETag")).toBe(etag);
      expect(response.headers.get("Last-Modified")).toBe(storedAt);
    });

    test("HEAD is among the allowed methods", async () => {
      const response = await send(path, { method: "PATCH" });
      expect(response.headers.get("Allow")).toContain("GET, HEAD");
      await problemOf(response, 405, "method_not_allowed");
    });
  },
);

test("of an empty file the last bytes are all, and no range is within", async () => {
  await put("empty", new Uint8Array(0));
  const last = await send("/v1/files/empty", {
    headers: { Range: "bytes=-5" },
  });
  expect([last.status, await last.text()]).toEqual([200, ""]);
  const from = await send("/v1/files/empty", {
    headers: { Range: "bytes=0-" },
  });
  expect(from.headers.get("Content-Range")).toBe("bytes */0");
  await problemOf(from, 416, "range_not_satisfiable");
});

test("a missing file is missing under any condition", async () => {
  const headers = { "If-Match": '"a"', "If-None-Match": "*" };
  for (const method of ["GET", "DELETE"]) {
    const response = await send("/v1/files/nowhere", { method, headers });
    await problemOf(response, 404, "file_not_found");
  }
});

test("a download resumed after the file changed gets all of the new one", async () => {
  const first = await put("resumed", BYTES);
  await put("resumed", BYTES.toReversed());
  const headers = {
    Range: "bytes=50-",
    "If-Range": first.headers.get("ETag")!,
  };
  const response = await send("/v1/files/resumed", { headers });
  expect(response.status).toBe(200);
  expect(new Uint8Array(await response.arrayBuffer())).toEqual(
    BYTES.toReversed(),
  );
});

/** A file put whole, and one that goes in parts. */
describe.each([100, 700 * 1024])("a PUT of %d bytes", (length) => {
  const name = `conditional-${length}`;
  const older = new Uint8Array(length).fill(1);
  const newer = new Uint8Array(length).fill(2);

  async function expectStored(bytes: Uint8Array | null): Promise<void> {
    const object = await bindings.BUCKET.get(`files/${name}`);
    const stored = object && new Uint8Array(await object.arrayBuffer());
    expect(stored?.length).toBe(bytes?.length);
    expect(stored?.every((byte, i) => byte === bytes?.[i])).toBe(
      bytes ? true : undefined,
    );
  }

  async function expectRefused(headers: Record<string, string>): Promise<void> {
    const refused = await put(name, newer, headers);
    await problemOf(refused, 412, "precondition_failed");
  }

  test("is stored under the conditions that hold, and no other", async () => {
    await expectRefused({ "If-Match": "*" });
    await expectRefused({ "If-Match": '"a"' });
    await expectStored(null);

    const first = await put(name, older, { "If-None-Match": "*" });
    expect(first.status).toBe(201);
    const etag = first.headers.get("ETag")!;
    const read = await send(`/v1/files/${name}`, { method: "HEAD" });
    expect(read.headers.get("ETag")).toBe(etag);

    await expectRefused({ "If-None-Match": "*" });
    await expectRefused({ "If-None-Match": etag });
    await expectRefused({ "If-None-Match": `"a" , W/${etag},` });
    // Without its quotes it is no ETag, and would be that of no version.
    await expectRefused({ "If-None-Match": etag.slice(1, -1) });
    await expectRefused({ "If-None-Match": `"a", ${etag.slice(1, -1)}` });
    await expectRefused({ "If-Match": '"other"' });
    await expectRefused({ "If-Match": `W/${etag}` });
    await expectRefused({ "If-Unmodified-Since": PAST });
    await expectStored(older);

    const second = await put(name, newer, { "If-Match": `"other", ${etag}` });
    expect(second.status).toBe(201);
    await expectStored(newer);
    await expectRefused({ "If-Match": etag });

    const gone = { method: "DELETE", headers: { "If-Match": etag } };
    await problemOf(
      await send(`/v1/files/${name}`, gone),
      412,
      "precondition_failed",
    );
    await expectStored(newer);
  });

  test("is refused where a file came while the body did", async () => {
    await bindings.BUCKET.delete(`files/${name}`);
    const { readable: body, writable } = new FixedLengthStream(length);
    const sent = (async () => {
      const writer = writable.getWriter();
      await writer.write(newer.subarray(0, 50));
      await bindings.BUCKET.put(`files/${name}`, older);
      await writer.write(newer.subarray(50));
      await writer.close();
    })();
    const refused = await send(`/v1/files/${name}`, {
      method: "PUT",
      headers: { "If-None-Match": "*", "Content-Length": `${length}` },
      body,
    });
    await sent;
    await problemOf(refused, 412, "precondition_failed");
    await expectStored(older);
  });
});

function put(
  name: string,
  body: Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
  kind: "files" | "datasets" = "files",
): Promise<Response> {
  return send(`/v1/${kind}/${name}`, {
    method: "PUT",
    body,
    headers: { ...headers, "Content-Length": String(body.length) },
  });
}
