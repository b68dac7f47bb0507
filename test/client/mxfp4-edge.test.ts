/** The client against the description: one method an operation, which sends what is described. */
import { expect, test } from "vitest";
import { encodeFrame, type Frame } from "../../src/api/frame.ts";
import type { Option, Options, ValuesOf } from "../../src/api/option-kinds.ts";
import {
  ANALYZE_MODEL_OPTIONS,
  DEQUANTIZE_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  REPACK_OPTIONS,
} from "../../src/api/options.ts";
import type { TensorBody } from "../../src/api/tensors.ts";
import type { PinnedDataset } from "../../src/api/dataset.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import type { Described } from "../../src/http/declaration/parameter.ts";
import { queryParameters } from "../../src/http/declaration/route.ts";
import {
  READ_CONDITIONS,
  WRITE_CONDITIONS,
} from "../../src/http/files/conditions.ts";
import { ROUTES } from "../../src/http/routes.ts";

const BYTES = new Uint8Array([1, 2, 3]);
const lease = {
  kind: "eval",
  step: 1,
  index: 2,
  deadlineMs: 3,
  key: "k",
} as const;
const dataset: PinnedDataset = {
  name: "d",
  digest: "0",
  tokens: 9,
  tokenizer: "byte",
  vocabulary: 256,
};
/** Some value of every option. */
function every<T extends Options>(table: T): ValuesOf<T> {
  const values = Object.entries(table).map(([name, option]) => [
    name,
    valueOf(option),
  ]);
  return Object.fromEntries(values) as ValuesOf<T>;
}

function valueOf(option: Option): unknown {
  switch (option.kind) {
    case "choice":
      return option.values.at(-1);
    case "whole":
      return option.least;
    case "patterns":
      return ["a*", "b?"].map((each) =>
        option.gives ? `${each}=${option.gives[0]}` : each,
      );
    case "list":
      return ["a*", "b?"];
    case "sizes":
      return [1, 32];
    case "group":
      return every(option.options);
  }
}

/** A call of each operation's method, with every option that it has. */
const CALLS: Record<string, (edge: Mxfp4Edge) => Promise<unknown>> = {
  health: (edge) => edge.health(),
  version: (edge) => edge.version(),
  serviceMetrics: (edge) => edge.serviceMetrics(),
  description: (edge) => edge.description(),
  quantize: (edge) => edge.quantize(BYTES, every(QUANTIZE_OPTIONS)),
  dequantize: (edge) => edge.dequantize(BYTES, every(DEQUANTIZE_OPTIONS)),
  repack: (edge) => edge.repack(BYTES, every(REPACK_OPTIONS)),
  analyze: (edge) => edge.analyze(BYTES, every(ANALYZE_MODEL_OPTIONS)),
  hadamard: (edge) => edge.hadamard(BYTES, every(HADAMARD_OPTIONS)),
  gemm: (edge) => edge.gemm(BYTES, every(GEMM_OPTIONS)),
  listFiles: (edge) => edge.files({ prefix: "f", limit: 5, cursor: "f1" }),
  putFile: (edge) => edge.putFile("f", BYTES),
  getFile: (edge) => edge.file("f", { start: 0, end: 8 }),
  deleteFile: (edge) => edge.removeFile("f"),
  beginUpload: (edge) => edge.beginUpload("f", { bytes: 9, partBytes: 8 }),
  getUpload: (edge) => edge.upload("f", "9-8"),
  putPart: (edge) => edge.putPart("f", "9-8", 1, BYTES),
  completeUpload: (edge) => edge.completeUpload("f", "9-8"),
  abortUpload: (edge) => edge.abortUpload("f", "9-8"),
  getFolder: (edge) => edge.folder("f"),
  deleteFolder: (edge) => edge.removeFolder("f"),
  createJob: (edge) => edge.createJob({ operation: "quantize", source: "f" }),
  listJobs: (edge) => edge.jobs({ limit: 5, cursor: "1-j" }),
  getJob: (edge) => edge.job("j"),
  deleteJob: (edge) => edge.removeJob("j"),
  putDataset: (edge) =>
    edge.putDataset("d", BYTES, {
      tokenizer: "bpe",
      vocabulary: 600,
      from: "f",
    }),
  listDatasets: (edge) => edge.datasets({ limit: 5, cursor: "c" }),
  getDataset: (edge) => edge.dataset("d"),
  getTokens: (edge) => edge.run("r").tokens(dataset, 0, 4),
  getTokenizer: (edge) => edge.run("r").tokenizer(dataset),
  deleteDataset: (edge) => edge.removeDataset("d"),
  createRun: (edge) => edge.createRun({ dataset: "d" }),
  listRuns: (edge) => edge.runs(),
  getRun: (edge) => edge.run("r").status(),
  setRunState: (edge) => edge.run("r").setState("paused"),
  deleteRun: (edge) => edge.run("r").remove(),
  addTrainers: (edge) => edge.run("r").addTrainers(1),
  takeLease: (edge) =>
    edge.run("r").lease({ trainer: "t", bootId: "b", fingerprint: "f" }),
  leaveRun: (edge) => edge.run("r").leave({ trainer: "t", bootId: "b" }),
  completeLease: (edge) =>
    edge
      .run("r")
      .complete(lease, { trainer: "t", bootId: "b", lossSum: 1, tokens: 64 }),
  pullParameters: (edge) =>
    edge.run("r").pull(0, 1, {
      base: { digest: "0" } as Frame,
      rewinds: 2,
      waitMs: 1000,
    }),
  listStates: (edge) => edge.run("r").states(),
  rewindRun: (edge) => edge.run("r").rewind(3),
  pushGradient: (edge) => edge.run("r").push(0, lease, BYTES),
  listTokens: (edge) => edge.run("r").joinTokens(),
  setTokenState: (edge) => edge.run("r").setTokenState("t-1", "revoked"),
  getStep: (edge) => edge.run("r").step(1),
  generate: (edge) => edge.generate("m", { prompt: "a" }).next(),
  generateFromRun: (edge) => edge.run("r").generate({ prompt: "a" }).next(),
  getMetrics: (edge) => edge.run("r").metrics(),
  getEvents: (edge) => edge.run("r").events(5).next(),
  getCheckpoint: (edge) =>
    edge.run("r").checkpoint({
      format: "safetensors",
      state: "full",
      step: 3,
      chain: "authors",
    }),
};

/** Options that the client has no use for. */
const UNUSED: Record<string, string[]> = {
  getMetrics: ["format"],
  generate: ["format"],
  generateFromRun: ["format"],
  putFile: Object.keys(WRITE_CONDITIONS),
  completeUpload: Object.keys(WRITE_CONDITIONS),
  deleteFile: Object.keys(WRITE_CONDITIONS),
  // A body that breaks off asks with it why: client.test.ts.
  getCheckpoint: ["timeline"],
  // A download that breaks off is resumed by If-Range: download.test.ts.
  getFile: ["If-Range", ...Object.keys(READ_CONDITIONS)],
  getTokens: ["Range", "If-Range", ...Object.keys(READ_CONDITIONS)],
  getFolder: ["Range", "If-Range", ...Object.keys(READ_CONDITIONS)],
};

test("every operation has a call below", () => {
  expect(Object.keys(CALLS).toSorted()).toEqual(
    ROUTES.map(({ id }) => id).toSorted(),
  );
});

test.each(ROUTES)("$id sends what is described", async (operation) => {
  const { id, method, path, answers } = operation;
  const requests: { url: URL; init: RequestInit }[] = [];
  const frame = await encodeFrame(
    {
      kind: "parameters",
      dtype: "f32",
      step: 1,
      microbatch: 0,
      start: 0,
      length: 0,
    },
    new Uint8Array(0),
  );
  const edge = new Mxfp4Edge({
    baseUrl: "http://test",
    fetcher: {
      fetch(url, init = {}) {
        requests.push({ url: new URL(url), init });
        if (id === "pullParameters")
          return Promise.resolve(new Response(frame));
        if (id === "getEvents")
          return Promise.resolve(new Response(null, { status: 204 }));
        // The event that ends a text.
        if (id.startsWith("generate"))
          return Promise.resolve(new Response("data: {}\n\n"));
        const headers = { ETag: '"0"' };
        return Promise.resolve(new Response("{}", { headers }));
      },
    },
  });
  await CALLS[id]!(edge);
  expect(requests).toHaveLength(1);
  const { url, init } = requests[0]!;
  const headers = new Headers(init.headers);

  expect(init.method).toBe(method.toUpperCase());
  const pattern = path.replace(/\{\w+\}/g, "[^/]+");
  expect(url.pathname).toMatch(new RegExp(`^${pattern}$`));
  const used = (parameters: Record<string, Described> = {}) =>
    Object.entries(parameters).filter(([name]) => !UNUSED[id]?.includes(name));
  const query = used(queryParameters(operation));
  expect([...new Set(url.searchParams.keys())].toSorted()).toEqual(
    query.map(([name]) => name).toSorted(),
  );
  for (const [name, { schema }] of query) {
    if (!("enum" in schema)) continue;
    expect((schema.enum as unknown[]).map(String)).toContain(
      url.searchParams.get(name),
    );
  }
  for (const [name] of used(operation.headers)) {
    expect(headers.has(name), name).toBe(true);
  }
  expect(init.body !== undefined).toBe(operation.body !== undefined);
  if (operation.body) {
    expect(headers.get("Content-Type")).toBe(
      operation.body.json ? "application/json" : "application/octet-stream",
    );
  }
  expect(Object.keys(answers).length).toBeGreaterThan(0);
});

test.each([
  [
    "a refused option",
    (edge: Mxfp4Edge, body: TensorBody) =>
      edge.quantize(body, { scale: "up" as never }),
    /`scale` .* got "up"/,
  ],
  [
    "patterns that are no array",
    (edge: Mxfp4Edge, body: TensorBody) =>
      edge.analyze(body, { include: "*.weight" as never }),
    /`include` to be an array/,
  ],
  [
    "a body without a length",
    (edge: Mxfp4Edge, body: TensorBody) =>
      edge.putFile("f", Object.assign({}, body, { bytes: undefined }) as never),
    /`bytes` as undefined/,
  ],
])(
  "%s is refused before anything is sent, and its stream given back",
  async (_, send, message) => {
    const edge = new Mxfp4Edge({
      baseUrl: "http://test",
      fetcher: { fetch: () => Promise.reject(new Error("sent")) },
    });
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      cancel: () => void (cancelled = true),
    });
    await expect(send(edge, { stream, bytes: 3 })).rejects.toThrow(message);
    expect({ cancelled, locked: stream.locked }).toEqual({
      cancelled: true,
      locked: false,
    });
  },
);

test("a stream is sent with its length, and never twice", async () => {
  let sent = 0;
  const edge = new Mxfp4Edge({
    baseUrl: "http://test",
    fetcher: {
      async fetch(_url, init) {
        sent++;
        const bytes = await new Response(init!.body).arrayBuffer();
        expect(bytes.byteLength).toBe(3);
        return new Response("later", { status: 503 });
      },
    },
  });
  const stream = new Blob([BYTES]).stream();
  await expect(edge.quantize({ stream, bytes: 3 })).rejects.toThrow("503");
  expect(sent).toBe(1);
});

test("a job of an edge that does not tell yet what it left out has left out nothing", async () => {
  const older = new Mxfp4Edge({
    baseUrl: "http://older.example",
    fetcher: {
      fetch: () =>
        Promise.resolve(Response.json({ job: "j", state: "finished" })),
    },
  });
  expect(await older.finishedJob("j")).toEqual({
    job: "j",
    state: "finished",
    leftOut: [],
    missing: [],
  });
});
