/** Files in parts: in any order, again, after a kill; and nothing of them before they are whole. */
import {
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import type { FileUpload } from "../../src/api/tensors.ts";
import { Http } from "../../src/client/http.ts";
import { PartsUpload } from "../../src/client/parts-upload.ts";
import { bindings } from "../support/jobs.ts";
import { ORIGIN, problemOf, send } from "./support.ts";

const PART = 5 * 1024 * 1024;
const LAST = 1000;
const SIZES = { bytes: 2 * PART + LAST, partBytes: PART };
const FILE = "/v1/files/large";
const UPLOAD = `${FILE}/uploads/${SIZES.bytes}-${PART}`;

afterEach(reset);

/** Of part `part`, from 1; another `seed` makes others. */
function bytesOfPart(part: number, seed = 0): Uint8Array<ArrayBuffer> {
  const length = part === 3 ? LAST : PART;
  return new Uint8Array(length).map((_, i) => (i >> 8) + part + seed);
}

function begin(sizes: object = SIZES): Promise<Response> {
  return send(`${FILE}/uploads`, {
    method: "POST",
    body: JSON.stringify(sizes),
  });
}

function putPart(part: number, body = bytesOfPart(part)): Promise<Response> {
  return send(`${UPLOAD}/${part}`, {
    method: "PUT",
    body,
    headers: { "Content-Length": `${body.length}` },
  });
}

const complete = (headers: Record<string, string> = {}): Promise<Response> =>
  send(`${UPLOAD}/complete`, { method: "POST", headers });

async function expectFile(parts: Uint8Array[] | null): Promise<void> {
  const object = await bindings.BUCKET.get("files/large");
  if (!object || !parts) return expect(object).toBe(parts);
  const stored = new Uint8Array(await object.arrayBuffer());
  const expected = new Uint8Array(
    await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer(),
  );
  expect(stored.length).toBe(expected.length);
  expect(stored.findIndex((byte, i) => byte !== expected[i])).toBe(-1);
}

test("parts in any order become a file when they are complete, and not before", async () => {
  const begun = await begin();
  expect(begun.status).toBe(201);
  expect(await begun.json()).toMatchObject({ ...SIZES, parts: [] });
  const third = await putPart(3);
  expect([third.status, await third.json()]).toMatchObject([
    201,
    { part: 3, bytes: LAST },
  ]);
  expect((await putPart(1, bytesOfPart(1, 9))).status).toBe(201);
  const early = await problemOf(await complete(), 409, "parts_missing");
  expect(early.detail).toBe("Expected parts 1 to 3, but these are missing: 2");
  await expectFile(null);

  const again = await begin();
  expect(again.status).toBe(200);
  const { parts } = await again.json<FileUpload>();
  expect(parts.map(({ part }) => part)).toEqual([1, 3]);
  // In place of the one that came.
  for (const part of [1, 2]) expect((await putPart(part)).status).toBe(201);
  for (let time = 0; time < 2; time++) {
    const done = await complete();
    expect([done.status, await done.json()]).toEqual([
      201,
      { name: "large", bytes: SIZES.bytes, digest: null },
    ]);
  }
  await expectFile([1, 2, 3].map((part) => bytesOfPart(part)));
  await problemOf(await send(UPLOAD), 404, "upload_not_found");
});

test("sizes and parts that no upload can have are refused", async () => {
  for (const sizes of [
    { bytes: 0, partBytes: PART },
    { bytes: 1, partBytes: PART - 1 },
    { bytes: 1, partBytes: 95 * 1024 * 1024 + 1 },
    { bytes: 10_000 * PART + 1, partBytes: PART },
    { bytes: 1 },
  ])
    await problemOf(await begin(sizes), 422, "invalid_option");
  await problemOf(await putPart(1), 404, "upload_not_found");
  await problemOf(await complete(), 404, "upload_not_found");
  await begin();
  for (const part of [0, 4])
    await problemOf(await putPart(part, bytesOfPart(3)), 422, "invalid_number");
  const short = await problemOf(
    await putPart(2, bytesOfPart(3)),
    400,
    "malformed_body",
  );
  expect(short.detail).toContain(`part 2 of ${PART} bytes, got ${LAST}`);
  const early = await send(`${UPLOAD}/3`, {
    method: "PUT",
    body: new Uint8Array(10),
    headers: { "Content-Length": `${LAST}` },
  });
  await problemOf(early, 400, "malformed_body");
  expect(await (await send(UPLOAD)).json()).toMatchObject({ parts: [] });
});

test("a part whose successor breaks off is missing, and the others stay", async () => {
  await begin();
  for (const part of [1, 2, 3]) await putPart(part);
  const broken = await send(`${UPLOAD}/2`, {
    method: "PUT",
    body: new Uint8Array(10),
    headers: { "Content-Length": `${PART}` },
  });
  await problemOf(broken, 400, "malformed_body");
  const early = await problemOf(await complete(), 409, "parts_missing");
  expect(early.detail).toBe("Expected parts 1 to 3, but these are missing: 2");
  await putPart(2);
  expect((await complete()).status).toBe(201);
  await expectFile([1, 2, 3].map((part) => bytesOfPart(part)));
});

test("parts are put together under the conditions that hold, and no other", async () => {
  const { httpEtag } = (await bindings.BUCKET.put("files/large", "older"))!;
  await begin();
  for (const part of [1, 2, 3]) await putPart(part);
  for (const [name, tags] of [
    ["If-None-Match", "*"],
    ["If-Match", '"other"'],
  ] as const) {
    const refused = await complete({ [name]: tags });
    await problemOf(refused, 412, "precondition_failed");
  }
  await expectFile([new TextEncoder().encode("older")]);
  for (let time = 0; time < 2; time++)
    expect((await complete({ "If-Match": httpEtag })).status).toBe(201);
  await expectFile([1, 2, 3].map((part) => bytesOfPart(part)));
});

test("an upload that is taken back leaves nothing, and is begun anew", async () => {
  await begin();
  await putPart(3);
  const gone = await send(UPLOAD, { method: "DELETE" });
  expect(gone.status).toBe(204);
  const twice = await send(UPLOAD, { method: "DELETE" });
  await problemOf(twice, 404, "upload_not_found");
  expect(await (await begin()).json()).toMatchObject({ parts: [] });
  await expectFile(null);
});

test("one that gets no part for a day is taken back; a part keeps it", async () => {
  const directory = bindings.DIRECTORY.getByName("directory");
  const pass = async (hours: number): Promise<void> => {
    await runInDurableObject(directory, (_directory, { storage }) => {
      const sql = "UPDATE uploads SET until_ms = until_ms - ?";
      storage.sql.exec(sql, hours * 60 * 60_000);
    });
    await runDurableObjectAlarm(directory);
  };
  await begin();
  await pass(20);
  await putPart(3);
  await pass(20);
  expect((await send(UPLOAD)).status).toBe(200);
  await pass(5);
  await problemOf(await send(UPLOAD), 404, "upload_not_found");
});

test("parts that R2 no longer has are asked for again", async () => {
  await begin();
  for (const part of [1, 2, 3]) await putPart(part);
  const directory = bindings.DIRECTORY.getByName("directory");
  await runInDurableObject(directory, (_directory, { storage }) => {
    storage.sql.exec("UPDATE file_parts SET etag = 'other' WHERE part = 2");
  });
  await problemOf(await complete(), 409, "parts_missing");
  for (const part of [1, 2, 3]) await putPart(part);
  expect((await complete()).status).toBe(201);
  await expectFile([1, 2, 3].map((part) => bytesOfPart(part)));
});

test("the client sends what is missing or other, and tells how far it is", async () => {
  await begin();
  await putPart(1);
  await putPart(2, bytesOfPart(2, 7));
  const requests: string[] = [];
  const http = new Http({
    baseUrl: ORIGIN,
    fetcher: {
      fetch(url, init = {}) {
        const path = url.slice(ORIGIN.length);
        requests.push(`${init.method} ${path.replace(UPLOAD, "")}`);
        const headers = new Headers(init.headers);
        if (init.body instanceof Blob)
          headers.set("Content-Length", `${init.body.size}`);
        return send(path, { ...init, headers });
      },
    },
  });
  const progress: number[] = [];
  const file = new Blob([1, 2, 3].map((part) => bytesOfPart(part)));
  const upload = new PartsUpload(
    http,
    FILE,
    file,
    (bytes) => progress.push(bytes),
    PART,
  );
  expect(await upload.send()).toMatchObject({ bytes: SIZES.bytes });
  expect(requests.toSorted()).toEqual(
    [`POST ${FILE}/uploads`, "PUT /2", "PUT /3", "POST /complete"].toSorted(),
  );
  expect(progress).toHaveLength(3);
  expect(progress.at(-1)).toBe(SIZES.bytes);
  await expectFile([1, 2, 3].map((part) => bytesOfPart(part)));
});
