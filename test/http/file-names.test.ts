/** Names as file systems have them, wherever one goes: paths, listings, parts, tars, jobs, models and what refuses them. */
import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type {
  FilePage,
  FileUpload,
  JobRequest,
} from "../../src/api/tensors.ts";
import { FILE_NAME } from "../../src/api/text-rules.ts";
import {
  bindings,
  createJob,
  finish as finishJob,
  names,
} from "../support/jobs.ts";
import { callJson, finish, outcomeOf, startRun, TINY } from "../support/run.ts";
import {
  gpt2Directory,
  PINNED_SHAPE,
  written,
} from "../support/text-models.ts";
import { entriesOf, untarred } from "../support/untarred.ts";
import { bytesOf, problemOf, send } from "./support.ts";
import { f32, fileOf } from "./tensor-support.ts";

afterEach(reset);

const MAX_BYTES = FILE_NAME.maxBytes;
const NAMES = [
  "my model.safetensors",
  "модель.gguf",
  "a/b/c/d.bin",
  "каталог с пробелом/модель №1 (2)/50% #1?.bin",
  "🙂 and é, decomposed as é",
  "+&=;,:@!$'\"\\`*[]{}<>|^~",
  "%2F%zz%",
  "...",
  ".hidden/..x",
  "uploads",
  "folder/uploads",
  "x".repeat(MAX_BYTES),
  "ж".repeat(MAX_BYTES / 2),
];
/** With slashes as they are, where those of a form are %2F. */
const inPath = (name: string): string =>
  name.split("/").map(encodeURIComponent).join("/");

function put(path: string, body: Uint8Array<ArrayBuffer>): Promise<Response> {
  const headers = { "Content-Length": String(body.length) };
  return send(path, { method: "PUT", body, headers });
}

const bytesOfText = (text: string) =>
  Uint8Array.from(new TextEncoder().encode(text));

async function putFile(name: string, body: Uint8Array<ArrayBuffer>) {
  const path = `/v1/files/${encodeURIComponent(name)}`;
  expect((await put(path, body)).status).toBe(201);
}

test("files are put, listed in pages, got and removed under their names, however slashes are encoded", async () => {
  for (const [i, name] of NAMES.entries()) {
    const encode = i % 2 ? inPath : encodeURIComponent;
    const response = await put(`/v1/files/${encode(name)}`, Uint8Array.of(i));
    expect(await response.json()).toMatchObject({ name, bytes: 1 });
  }
  const listed: string[] = [];
  for (let cursor = ""; ;) {
    const query = `limit=1${cursor}`;
    const page = await (await send(`/v1/files?${query}`)).json<FilePage>();
    listed.push(...page.files.map(({ name }) => name));
    if (page.next === null) break;
    cursor = `&cursor=${encodeURIComponent(page.next)}`;
  }
  expect(listed.toSorted()).toEqual(NAMES.toSorted());
  const prefix = encodeURIComponent("каталог с пробелом/");
  const some = await (
    await send(`/v1/files?prefix=${prefix}`)
  ).json<FilePage>();
  expect(some.files.map(({ name }) => name)).toEqual([NAMES[3]]);
  for (const [i, name] of NAMES.entries()) {
    for (const encode of [inPath, encodeURIComponent]) {
      const got = await send(`/v1/files/${encode(name)}`);
      expect(await got.bytes(), name).toEqual(Uint8Array.of(i));
      expect(savedName(got)).toBe(name.split("/").at(-1));
    }
    const path = `/v1/files/${inPath(name)}`;
    expect((await send(path, { method: "DELETE" })).status).toBe(204);
    await problemOf(await send(path), 404, "file_not_found");
  }
  expect(await names()).toEqual([]);
});

/** By RFC 6266: `filename*` stands above `filename`, which every reader takes. */
function savedName(answer: Response): string {
  const told = answer.headers.get("Content-Disposition") ?? "";
  const [, plain, extended] =
    /^attachment; filename="([\x20-\x7e]*)"(?:; filename\*=UTF-8''([\w!#$&+.^`|~%-]+))?$/.exec(
      told,
    ) ?? [];
  expect(plain, told).toBeDefined();
  expect(plain).not.toMatch(/["\\]/);
  return extended === undefined ? plain! : decodeURIComponent(extended);
}

test.each([
  ["nothing between slashes", "a//b"],
  ["a slash at the end", "a/"],
  ["a slash at the beginning", "/a"],
  ["a folder above", "a/../b"],
  ["a folder itself", "a/./b"],
  ["a folder above at the end", "a/.."],
  ["a line's end", "a\nb"],
  ["a zero byte", "a\0"],
  ["another control character", "a\u0085b"],
  ["too many bytes", "x".repeat(MAX_BYTES + 1)],
  ["too many bytes, not too many characters", `${"ж".repeat(MAX_BYTES / 2)}x`],
])("a name with %s is refused", async (_, name) => {
  const path = `/v1/files/${encodeURIComponent(name)}`;
  const { detail } = await problemOf(
    await put(path, new Uint8Array(1)),
    422,
    "invalid_name",
  );
  expect(detail).toContain(
    `Expected a file's name of up to ${MAX_BYTES} bytes`,
  );
  const folder = `/v1/folders/${encodeURIComponent(name)}`;
  await problemOf(await send(folder), 422, "invalid_name");
  const request: JobRequest = { operation: "analyze", source: name };
  await problemOf(await createJob(request), 422, "invalid_option");
  const generate = { model: name, prompt: "a" };
  const response = await callJson("POST", "/v1/generate", generate);
  await problemOf(response, 422, "invalid_config");
});

test("half of a surrogate pair, and bytes that are no UTF-8, are refused", async () => {
  const body = '{"operation": "analyze", "source": "a\\ud83d"}';
  const half = await send("/v1/jobs", { method: "POST", body });
  await problemOf(half, 422, "invalid_option");
  // Taken as it stands it would be the file that %25FF names.
  for (const bytes of ["%FF", "a%", "a/%ED%A0%BD"]) {
    const path = `/v1/files/${bytes}`;
    const problem = await problemOf(
      await put(path, new Uint8Array(1)),
      422,
      "invalid_name",
    );
    expect(problem.detail).toContain("percent-encoded UTF-8");
    const query = `/v1/files?prefix=${bytes}`;
    const { detail } = await problemOf(
      await send(query),
      422,
      "invalid_option",
    );
    expect(detail).toContain("percent-encoded UTF-8");
  }
  expect(await names()).toEqual([]);
});

test.each(["my folder/модель 1.gguf", "a/uploads/b", "uploads"])(
  "parts become the file %j, and go on where they were",
  async (name) => {
    const sizes = { bytes: 1000, partBytes: 5 * 1024 * 1024 };
    const path = `/v1/files/${encodeURIComponent(name)}/uploads`;
    const body = JSON.stringify(sizes);
    const begin = () => send(path, { method: "POST", body });
    const begun = await (await begin()).json<FileUpload>();
    expect(begun.file).toBe(name);
    const upload = `${path}/${begun.upload}`;
    const part = new Uint8Array(sizes.bytes).fill(3);
    expect((await put(`${upload}/1`, part)).status).toBe(201);
    const again = await (await begin()).json<FileUpload>();
    expect(again.parts).toHaveLength(1);
    const done = await send(`${upload}/complete`, { method: "POST" });
    expect(await done.json()).toMatchObject({ name });
    const got = await send(`/v1/files/${encodeURIComponent(name)}`);
    expect(await got.bytes()).toEqual(part);
    const other = JSON.stringify({ ...sizes, bytes: 7 });
    await send(path, { method: "POST", body: other });
    const gone = await send(`${path}/7-${sizes.partBytes}`, {
      method: "DELETE",
    });
    expect(gone.status).toBe(204);
  },
);

test("with slashes as they are, too, an upload is one of the file before it", async () => {
  const path = "/v1/files/a/b/c/uploads";
  const body = '{"bytes": 1, "partBytes": 5242880}';
  const begun = await send(path, { method: "POST", body });
  expect(await begun.json()).toMatchObject({ file: "a/b/c" });
  expect(await (await send(`${path}/1-5242880`)).json()).toMatchObject({
    file: "a/b/c",
  });
});

describe("a folder", () => {
  const FOLDER = "мои модели/№ 1";
  const FILES = new Map(
    [
      "config.json",
      "my model.safetensors",
      "модель.bin",
      `sub folder/${"long ".repeat(30)}`,
      `${"д".repeat(60)}/${"ж".repeat(100)}`,
      `${"deep/".repeat(40)}end`,
    ].map((name, i) => [`${FOLDER}/${name}`, new Uint8Array(i * 300).fill(i)]),
  );

  test("is a tar of all names, long and not ASCII, and goes with all that is in it", async () => {
    for (const [name, bytes] of FILES) await putFile(name, bytes);
    await putFile("мои модели/№ 10/other", new Uint8Array(1));
    const path = `/v1/folders/${encodeURIComponent(FOLDER)}`;
    const answer = await send(path);
    expect(savedName(answer)).toBe("№ 1.tar");
    const head = await send(path, { method: "HEAD" });
    expect(savedName(head)).toBe("№ 1.tar");
    const tar = await answer.bytes();
    expect(tar.length).toBe(Number(answer.headers.get("Content-Length")));
    expect(entriesOf(tar)).toEqual(
      new Map([...FILES].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    );
    expect(untarred(tar)).toEqual(entriesOf(tar));
    for (const [start, end] of [
      [511, 1600],
      [2000, 4000],
    ] as const) {
      const headers = { Range: `bytes=${start}-${end}` };
      const part = await send(path, { headers });
      expect(savedName(part)).toBe("№ 1.tar");
      expect(await part.bytes()).toEqual(tar.slice(start, end + 1));
    }
    const gone = await send(`/v1/folders/${inPath(FOLDER)}`, {
      method: "DELETE",
    });
    expect(gone.status).toBe(204);
    expect(await names()).toEqual(["мои модели/№ 10/other"]);
  });

  test("that is a model writes text, and a run goes on from it", async () => {
    const shape = { ...PINNED_SHAPE, vocabulary: 256 };
    const files = gpt2Directory(shape);
    for (const [file, bytes] of files)
      await bindings.BUCKET.put(`files/${FOLDER}/${file}`, bytes);
    // What lies in folders of it is none of the model's.
    await putFile(`${FOLDER}/more/model.safetensors`, new Uint8Array(9));
    const options = { maxTokens: 8, seed: 5 };
    const request = { model: FOLDER, prompt: "ab", ...options };
    const text = await callJson("POST", "/v1/generate", request);
    expect(await text.text()).toBe((await written(files, "ab", options)).text);
    const { run: first, status } = await startRun({
      model: TINY.model,
      steps: 1,
    });
    await finish(first, ["one"]);
    const tar = await (await first.checkpoint({ format: "hf" })).bytes();
    const mine = "мой run/1";
    for (const [name, bytes] of untarred(tar))
      await bindings.BUCKET.put(`files/${name.replace(/^model/, mine)}`, bytes);
    const { run } = await startRun({
      dataset: status.config.dataset.name,
      from: mine,
      steps: 1,
      model: undefined,
    });
    await finish(run, ["one"]);
    expect((await run.status()).config.from).toMatchObject({ folder: mine });
    expect((await outcomeOf(run)).checkpoint).toBeDefined();
  });
});

describe("a job", () => {
  const VALUES = Array.from({ length: 128 }, (_, i) => i / 8);
  const tensorFile = (name: string) => fileOf([f32(name, [4, 32], VALUES)]);

  test("reads and writes files by such names, with patterns for such tensors", async () => {
    const source = "мой каталог/my model.safetensors";
    const result = "out/мой результат 1.safetensors";
    await putFile(source, tensorFile("слой.weight"));
    const options = { include: ["сл?й.*"] };
    const request = { operation: "quantize", source, result, options } as const;
    for (const status of [201, 200]) {
      const asked = { ...request, clientKey: "odd-names" };
      const response = await createJob(asked);
      expect(response.status, await response.clone().text()).toBe(status);
      expect(await response.json()).toMatchObject({ source, result });
    }
    expect((await finishJob("odd-names")).error).toBeNull();
    const stored = await send(`/v1/files/${inPath(result)}`);
    const body = tensorFile("слой.weight");
    const query = `include=${encodeURIComponent("сл?й.*")}`;
    const direct = await send(`/v1/quantize?${query}`, {
      method: "POST",
      body,
      headers: { "Content-Length": String(body.length) },
    });
    expect(await bytesOf(stored)).toEqual(await bytesOf(direct));
  });

  test("of a folder writes a folder in a folder, and leaves out those in its source", async () => {
    const source = "мои модели/№ 1";
    const result = "мои модели/№ 1 в MXFP4";
    await putFile(
      `${source}/my model.safetensors`,
      tensorFile("model.layers.0.mlp.up_proj.weight"),
    );
    await putFile(`${source}/config.json`, bytesOfText("{}"));
    await putFile(`${source}/sub folder/x.bin`, new Uint8Array(1));
    // As some tools of S3 mark a folder.
    await bindings.BUCKET.put(`files/${source}/`, "");
    const request = {
      operation: "quantize",
      source,
      result,
      clientKey: "odd-folder",
      options: { for: "vllm" },
    } as const;
    expect((await createJob(request)).status).toBe(201);
    const end = await finishJob("odd-folder");
    expect(end).toMatchObject({ error: null, result, isFolder: true });
    expect(end.leftOut).toEqual(["sub folder/"]);
    const card = await (
      await send(`/v1/files/${inPath(`${result}/README.md`)}`)
    ).text();
    expect(card).toContain("# № 1 in MXFP4");
  });

  test("whose folder makes too long a name of a file's ends and says so", async () => {
    const source = "long";
    await putFile(
      `${source}/model.safetensors`,
      tensorFile("model.layers.0.mlp.up_proj.weight"),
    );
    await putFile(`${source}/config.json`, bytesOfText("{}"));
    const request = {
      operation: "quantize",
      source,
      result: "r".repeat(MAX_BYTES - 3),
      clientKey: "too-long",
      options: { for: "vllm" },
    } as const;
    expect((await createJob(request)).status).toBe(201);
    const end = await finishJob("too-long");
    expect(end.error).toMatchObject({ code: "invalid_name" });
  });
});
