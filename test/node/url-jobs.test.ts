/**
 * Jobs whose source is elsewhere: by ranges, in one version, over a network that has every trouble; with a
 * token that goes nowhere else; and never to an address that is nobody's business.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
} from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import type { JobRequest, JobStatus } from "../../src/api/tensors.ts";
import { quantizeDirectory } from "../../src/cli/quantize-directory.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { checkSourceUrl } from "../../src/objects/job/url-rules.ts";
import { writeModel } from "../support/model-directories.ts";
import {
  type RangeServer,
  startRangeServer,
  type Trouble,
} from "../support/range-server.ts";

const TOKEN = "hf_secret-of-the-caller";
const FILE = "llama/model-00001-of-00002.safetensors";

let folder: string;
let edge: Running;
let client: Mxfp4Edge;
let server: RangeServer;
let other: RangeServer;
/** Requests to `count` since the test began. */
let count = 0;

const header =
  (headers: Record<string, string | undefined>): Trouble =>
  (_request, _response, answer) => {
    for (const [name, value] of Object.entries(headers)) {
      if (value === undefined) delete answer.headers[name];
      else answer.headers[name] = value;
    }
    return false;
  };

const TROUBLES: Record<string, Trouble> = {
  // Every connection breaks after some bytes.
  drops(_request, response, { status, headers, bytes }) {
    response.writeHead(status, { ...headers, "Content-Length": bytes.length });
    response.write(bytes.subarray(0, 9000), () => {
      if (bytes.length > 9000) response.destroy();
      else response.end();
    });
    return true;
  },
  // What comes ends early, though its length is its own.
  short(_request, _response, answer) {
    if (answer.status === 206) answer.bytes = answer.bytes.subarray(0, 20_000);
    return false;
  },
  busy(_request, response) {
    count++;
    if (count > 4) return false;
    const headers = count % 2 === 1 ? { "Retry-After": "1" } : {};
    response.writeHead(count < 3 ? 429 : 503, headers).end("busy");
    return true;
  },
  later(_request, response) {
    count++;
    if (count !== 2) return false;
    // Longer than a job waits with its turn.
    response.writeHead(503, { "Retry-After": "3" }).end();
    return true;
  },
  changes(_request, _response, answer) {
    if (++count > 1 && answer.status === 206) answer.headers.ETag = '"other"';
    return false;
  },
  grows(_request, _response, { headers }) {
    if (++count > 1)
      headers["Content-Range"] = headers["Content-Range"]!.replace(
        /\d+$/,
        "999999999",
      );
    return false;
  },
  ignores(request, response, answer) {
    if (request.headers.range === undefined || answer.status !== 206)
      return false;
    response.writeHead(200, { ETag: answer.headers.ETag! }).end("all of it");
    return true;
  },
  untagged: header({ ETag: undefined }),
  // A server that packs though it was asked not to: its ranges are those of the packed file.
  packed(request, response, { headers, bytes }) {
    const whole = gzipSync(bytes);
    const [start = 0, end = 0] = (request.headers.range ?? "")
      .match(/\d+/g)!
      .map(Number);
    const part = whole.subarray(start, end + 1);
    response
      .writeHead(206, {
        ...headers,
        "Content-Encoding": "gzip",
        "Content-Range": `bytes ${start}-${start + part.length - 1}/${whole.length}`,
      })
      .end(part);
    return true;
  },
  endless: header({ "Content-Range": "bytes 0-0/99999999999999999999" }),
  lost(_request, response) {
    response.writeHead(302, { Location: "http://" }).end();
    return true;
  },
  down(_request, response) {
    response.writeHead(500).end();
    return true;
  },
  private(request, response) {
    if (request.headers.authorization === `Bearer ${TOKEN}`) return false;
    response.writeHead(401).end();
    return true;
  },
  // As Hugging Face sends to its network of caches.
  moved(request, response) {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      response.writeHead(401).end();
      return true;
    }
    const to = request.url!.replace("/moved", "");
    response
      .writeHead(302, { Location: `${other.url}${to}?signature=s3cret` })
      .end();
    return true;
  },
  inward(_request, response) {
    response.writeHead(302, { Location: "http://2130706434/" }).end();
    return true;
  },
  metadata(_request, response) {
    response
      .writeHead(307, { Location: "https://[::ffff:a9fe:a9fe]/latest" })
      .end();
    return true;
  },
  outward(_request, response) {
    response.writeHead(301, { Location: "https://example.org/model" }).end();
    return true;
  },
  round(request, response) {
    response.writeHead(302, { Location: request.url! }).end();
    return true;
  },
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-url-jobs-"));
  mkdirSync(join(folder, "served"));
  writeModel(join(folder, "served/llama"), "llama", 2);
  writeFileSync(join(folder, "served/llama/tokenizer_config.json"), "");
  server = await startRangeServer(join(folder, "served"), TROUBLES);
  other = await startRangeServer(join(folder, "served"));
  edge = await startEdge({
    stateFolder: join(folder, "state"),
    quiet: true,
    sourceHosts: "huggingface.co,127.0.0.1",
  });
  client = new Mxfp4Edge({ baseUrl: edge.url });
});
afterAll(async () => {
  await edge?.close();
  await server?.close();
  await other?.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  count = 0;
});

async function job(
  path: string,
  changes: Partial<JobRequest> = {},
  token?: string,
  onProgress?: (status: JobStatus) => void,
): Promise<JobStatus> {
  const { job: id } = await client.createJob({
    operation: "quantize",
    source: { url: `${server.url}/${path}`, token },
    ...changes,
  } as JobRequest);
  return client.finishedJob(id, onProgress);
}

async function bytesOf(name: string): Promise<Buffer> {
  return Buffer.from(await (await client.file(name)).arrayBuffer());
}

/** The bytes of the route, of the same file. */
async function expected(): Promise<Buffer> {
  const bytes = readFileSync(join(folder, "served", FILE));
  const response = await client.quantize(new Uint8Array(bytes));
  return Buffer.from(await response.arrayBuffer());
}

test.each(["", "drops/", "short/", "busy/", "later/"])(
  "a file over a network that is %j has the bytes of the route",
  async (trouble) => {
    const status = await job(trouble + FILE);
    expect(status).toMatchObject({ error: null, state: "finished" });
    expect(status.source).toBe(`${server.url}/${trouble}${FILE}`);
    expect(Buffer.compare(await bytesOf(status.result), await expected())).toBe(
      0,
    );
  },
);

test.each([
  ["changes/", "file_changed"],
  ["grows/", "file_changed"],
  ["ignores/", "file_not_found"],
  ["untagged/", "file_not_found"],
  ["packed/", "file_not_found"],
  ["endless/", "file_not_found"],
  ["lost/", "file_not_found"],
  ["private/", "file_not_found"],
  ["none/", "file_not_found"],
  ["inward/", "invalid_option"],
  ["metadata/", "invalid_option"],
  ["outward/", "invalid_option"],
  ["round/", "file_not_found"],
])(
  "a file that is %s fails its job as %s, and leaves nothing",
  async (trouble, code) => {
    const { error, result } = await job(trouble + FILE);
    expect(error).toMatchObject({
      code,
      detail: expect.stringMatching(/^Expected /),
    });
    await expect(client.file(result)).rejects.toMatchObject({
      code: "file_not_found",
    });
  },
);

test("a server that stays down fails its job after some tries", async () => {
  const { error } = await job(`down/${FILE}`);
  expect(error).toMatchObject({ code: "unavailable" });
  expect(error!.detail).toContain("answered 500");
}, 120_000);

describe("a token", () => {
  test.each(["private/", "moved/"])(
    "opens %s, and is shown nowhere",
    async (where) => {
      const from = other.requests.length;
      const status = await job(where + FILE, {}, TOKEN);
      expect(status).toMatchObject({ error: null, state: "finished" });
      const result = await bytesOf(status.result);
      expect(Buffer.compare(result, await expected())).toBe(0);
      const seen = other.requests.slice(from);
      expect(seen.length > 0).toBe(where === "moved/");
      // Another host gets it not, though it answers for the first.
      expect(seen.map(({ authorization }) => authorization)).toEqual(
        seen.map(() => undefined),
      );
      const told = JSON.stringify([
        status,
        await client.jobs(),
        await client.job(status.job),
      ]);
      for (const secret of [TOKEN, "s3cret"]) {
        expect(told).not.toContain(secret);
        expect(result.includes(secret)).toBe(false);
      }
    },
  );

  test("is no part of what a repeated request must be", async () => {
    const request = {
      operation: "quantize",
      source: { url: `${server.url}/private/${FILE}?key=s3cret`, token: TOKEN },
      clientKey: "repeated",
    } as const;
    await client.createJob(request);
    const again = await client.createJob({
      ...request,
      source: { ...request.source, token: "another" },
    });
    expect(again.source).toBe(`${server.url}/private/${FILE}`);
    const end = await client.finishedJob("repeated");
    expect(end).toMatchObject({ error: null, state: "finished" });
  });
});

test("a directory, its network and its process broken again and again, has the command's bytes", async () => {
  const options = {
    for: "vllm",
    rounding: "stochastic",
    maxShardSize: 70_000,
  } as const;
  const to = join(folder, "llama-vllm");
  await quantizeDirectory({
    from: join(folder, "served/llama"),
    to,
    asJson: false,
    force: false,
    withFigures: false,
    options,
  });
  let kills = 0;
  const status = await job(
    "drops/llama/",
    { result: "there", options },
    undefined,
    ({ state }) => {
      if (state !== "running" || ++kills > 2) return;
      killEdge(join(folder, "state"));
    },
  );
  expect(kills).toBeGreaterThan(0);
  expect(status).toMatchObject({
    error: null,
    state: "finished",
    isFolder: true,
  });
  const files = readdirSync(to).toSorted();
  const { files: stored } = await client.files({ prefix: "there/" });
  expect(stored.map(({ name }) => name)).toEqual(
    files.map((file) => `there/${file}`),
  );
  for (const file of files)
    expect(
      Buffer.compare(
        await bytesOf(`there/${file}`),
        readFileSync(join(to, file)),
      ),
      file,
    ).toBe(0);
});

const HOSTS = {
  SOURCE_HOSTS:
    "huggingface.co, *.hf.co,*.example.com,127.0.0.1,[::1],10.0.0.1",
};

test.each([
  "https://huggingface.co/ORG/REPO/resolve/main/model.safetensors",
  "https://huggingface.co:443/x",
  "https://HuggingFace.co./x",
  "https://cas-bridge.xethub.hf.co/x?signature=1",
])("%s may be read", (url) => {
  expect(checkSourceUrl(url, HOSTS).href).toMatch(/^https:/);
});

test.each([
  "http://huggingface.co/x",
  "ftp://huggingface.co/x",
  "file:///etc/passwd",
  "https://huggingface.co.evil.net/x",
  "https://evilhuggingface.co/x",
  "https://hf.co/x",
  "https://sub.huggingface.co/x",
  "https://user:pass@huggingface.co/x",
  "https://huggingface.co@evil.net/x",
  "https://127.0.0.1/x",
  "https://10.0.0.1/x",
  "https://2130706433/x",
  "https://0x7f.1/x",
  "https://0177.0.0.1/x",
  "https://127.1/x",
  "https://[::1]/x",
  "https://[::ffff:127.0.0.1]/x",
  "https://[::ffff:7f00:1]/x",
  "https://[fd00::1]/x",
  "https://[64:ff9b::a00:1]/x",
  "https://localhost/x",
  "https://a.localhost/x",
  "https://metadata.google.internal/x",
  "https://0/x",
  "https:///x",
  "huggingface.co/x",
  "https://xn--/x",
])("%s may not", (url) => {
  const refused = expect.objectContaining({ code: "invalid_option" });
  const of = (bindings: object) => () => checkSourceUrl(url, bindings);
  expect(of(HOSTS)).toThrow(refused);
  expect(of({ SOURCE_HOSTS: "" })).toThrow(refused);
});

test("on this machine, in local mode, an address that is listed may be read, and no other", () => {
  const local = { ...HOSTS, LOCAL_MODE: "1" };
  expect(checkSourceUrl("http://127.0.0.1:99/x", local).port).toBe("99");
  expect(checkSourceUrl("http://[::1]/x", local).hostname).toBe("[::1]");
  for (const url of [
    "http://127.0.0.2/x",
    "http://10.0.0.1/x",
    "http://localhost/x",
  ])
    expect(() => checkSourceUrl(url, local)).toThrow(/^Expected /);
  expect(() =>
    checkSourceUrl("http://127.0.0.1/x", {
      LOCAL_MODE: "1",
      SOURCE_HOSTS: "huggingface.co",
    }),
  ).toThrow(/^Expected /);
});

test.each([
  "http://169.254.169.254/latest/meta-data/",
  "https://example.org/x",
])("a job of %s is refused before it begins", async (url) => {
  const created = client.createJob({ operation: "quantize", source: { url } });
  await expect(created).rejects.toMatchObject({ code: "invalid_option" });
});
