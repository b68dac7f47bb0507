/** Folders of the bucket: their files by name, by prefix, and as one tar. */
import { reset } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { FilePage } from "../../src/api/tensors.ts";
import { layOutTar, readTar } from "../../src/http/files/tar.ts";
import { names, putFile } from "../support/jobs.ts";
import { entriesOf } from "../support/untarred.ts";
import { problemOf, send } from "./support.ts";

const FILES: Record<string, Uint8Array<ArrayBuffer>> = {
  "model/config.json": Uint8Array.of(123, 125),
  "model/empty": new Uint8Array(0),
  "model/model.safetensors": new Uint8Array(70_000).map((_, i) => i >> 3),
  "model/whole-blocks": new Uint8Array(1024).fill(7),
};

describe("a folder of four files", () => {
  beforeEach(async () => {
    for (const [name, bytes] of Object.entries(FILES))
      await putFile(name, bytes);
    await putFile("model", new Uint8Array(1));
    await putFile("model2", new Uint8Array(2));
  });
  afterEach(reset);

  test.each(["/", "%2F"])("is read with a %s in the path", async (slash) => {
    for (const [name, bytes] of Object.entries(FILES)) {
      const response = await send(`/v1/files/${name.replace("/", slash)}`);
      expect(response.status).toBe(200);
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(bytes);
    }
  });

  test("is listed by prefix, in pages", async () => {
    const listed: string[] = [];
    for (let cursor = ""; ;) {
      const query = `prefix=model/&limit=3${cursor}`;
      const page = await (await send(`/v1/files?${query}`)).json<FilePage>();
      listed.push(...page.files.map(({ name }) => name));
      if (page.next === null) break;
      cursor = `&cursor=${encodeURIComponent(page.next)}`;
    }
    expect(listed).toEqual(Object.keys(FILES));
  });

  test("is one tar, any range of which is its bytes", async () => {
    const whole = await send("/v1/folders/model");
    expect(whole.headers.get("Content-Type")).toBe("application/x-tar");
    const tar = new Uint8Array(await whole.arrayBuffer());
    expect(whole.headers.get("Content-Length")).toBe(`${tar.length}`);
    expect(entriesOf(tar)).toEqual(new Map(Object.entries(FILES)));
    const etag = whole.headers.get("ETag")!;
    for (const [start, end] of [
      [0, 0],
      [511, 513],
      [1500, 9000],
      [3000, tar.length - 1],
    ] as const) {
      const headers = { Range: `bytes=${start}-${end}`, "If-Range": etag };
      const part = await send("/v1/folders/model", { headers });
      expect(part.status).toBe(206);
      const bytes = new Uint8Array(await part.arrayBuffer());
      expect(bytes).toEqual(tar.slice(start, end + 1));
    }
    const known = await send("/v1/folders/model", {
      headers: { "If-None-Match": etag },
    });
    expect(known.status).toBe(304);
    const head = await send("/v1/folders/model", { method: "HEAD" });
    const headers = (of: Response) =>
      [...of.headers].filter(
        ([name]) => !["x-request-id", "date"].includes(name),
      );
    expect(headers(head)).toEqual(headers(whole));
    expect(await head.text()).toBe("");
    const outside = { Range: `bytes=${tar.length}-` };
    await problemOf(
      await send("/v1/folders/model", { headers: outside }),
      416,
      "range_not_satisfiable",
    );

    await putFile("model/config.json", Uint8Array.of(91, 93));
    const other = await send("/v1/folders/model", {
      headers: { Range: "bytes=0-9", "If-Range": etag },
    });
    expect(other.status).toBe(200);
    await other.body?.cancel();
  });

  test("goes as one, and no other with it", async () => {
    const gone = await send("/v1/folders/model", { method: "DELETE" });
    expect(gone.status).toBe(204);
    expect(await names()).toEqual(["model", "model2"]);
    for (const method of ["GET", "DELETE"]) {
      const none = await send("/v1/folders/model", { method });
      await problemOf(none, 404, "file_not_found");
    }
  });

  test("is not taken for a file, and says what it is", async () => {
    await send("/v1/files/model", { method: "DELETE" });
    const problem = await problemOf(
      await send("/v1/files/model"),
      404,
      "file_not_found",
    );
    expect(problem.detail).toContain("GET /v1/folders/");
  });
});

test("a file larger than ustar can say has an extended header that does", async () => {
  const bytes = 2 ** 33 + 5;
  const long = `${"f".repeat(64)}/${"n".repeat(64)}`;
  const tar = layOutTar([{ name: long, bytes, modifiedMs: 0 }]);
  expect(tar.bytes).toBe(3 * 512 + 2 ** 33 + 512 + 1024);
  const { body, written } = readTar(tar, { offset: 0, length: 1536 }, () =>
    Promise.reject(new Error("Expected no byte of it to be read")),
  );
  const [head] = await Promise.all([new Response(body).arrayBuffer(), written]);
  const text = new TextDecoder().decode(head);
  expect(text[156]).toBe("x");
  expect(text.slice(512, 512 + 19)).toBe("19 size=8589934597\n");
  expect(text.slice(1024, 1024 + 65)).toBe(`${"n".repeat(64)}\0`);
  expect(text.slice(1024 + 345, 1024 + 345 + 65)).toBe(`${"f".repeat(64)}\0`);
});
