/** docs/guides/troubleshoot.md quotes what is said in truth: each message is brought about, and compared. */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { json } from "node:stream/consumers";
import { join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { Hono } from "hono";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { Progress } from "../../src/cli/progress.ts";
import { tellOutcome } from "../../src/cli/train/told-run.ts";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { answerError } from "../../src/http/errors.ts";
import { BUILDS } from "../../src/kernels/builds.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const PAGE = "docs/guides/troubleshoot.md";
const TOKEN = "a-token-of-the-test";
const MODEL = join(ROOT, "test/fixtures/hf/llama");

let folder: string;
let edge: Running;
let api: Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-troubleshoot-"));
  const stateFolder = join(folder, "state");
  edge = await startEdge({ stateFolder, quiet: true, token: TOKEN });
  api = new Client({ baseUrl: edge.url, token: TOKEN });
  await api.putDataset("text", Buffer.from("Call me Ishmael. ".repeat(400)));
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What a script says that does not do what it is called to. */
function said(script: string, ...args: string[]): string {
  const file = join(ROOT, "src/scripts", script);
  const env = { ...process.env, NO_COLOR: "1" };
  const options = { encoding: "utf8" as const, cwd: folder, env };
  const { status, stderr } = spawnSync(
    process.execPath,
    [file, ...args],
    options,
  );
  expect(status, stderr).toBeGreaterThan(0);
  return stderr;
}

/** Status, code and detail of a refusal. */
async function answered(
  path: string,
  init: RequestInit = {},
  token: string | undefined = TOKEN,
): Promise<string> {
  const headers = new Headers(init.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  return toldBy(await fetch(edge.url + path, { ...init, headers }));
}

async function toldBy(response: Response): Promise<string> {
  const { code, detail } = (await response.json()) as Record<string, string>;
  const later = response.headers.has("Retry-After") ? ", Retry-After" : "";
  return `${response.status} ${code}${later}: ${detail}`;
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => expect.fail("Expected a refusal"),
    (error: Error) => error.message,
  );
}

const tensor = (values: number[]): RequestInit => ({
  method: "POST",
  body: new Float32Array(values),
  headers: { "Content-Type": "application/octet-stream" },
});

/** What is printed of a run. */
async function printed(by: (progress: Progress) => unknown): Promise<string> {
  let text = "";
  const write = (part: string) => Boolean((text += part));
  await by(new Progress({ write }, 10));
  return stripVTControlCharacters(text);
}

const inSource = (file: string) =>
  readFileSync(join(ROOT, "src", file), "utf8");

/** By a part of the first column: what is said when it comes to that. */
const SAID: Record<string, () => string | Promise<string>> = {
  "in both splits": () =>
    refusalOf(
      api.putDataset("short", Buffer.from("Call me.")).then(() =>
        api.createRun({
          dataset: "short",
          model: { layers: 1, width: 64, heads: 1, context: 64 },
        }),
      ),
    ),
  "this fits": () =>
    said(
      "train.ts",
      ..."--preset medium --batch 64 --microbatches 1 --gradient-dtype f32".split(
        " ",
      ),
    ),
  "config.json with a whole": () => {
    const model = join(folder, "model");
    cpSync(MODEL, model, { recursive: true });
    const config = JSON.parse(
      readFileSync(join(model, "config.json"), "utf8"),
    ) as object;
    writeFileSync(
      join(model, "config.json"),
      JSON.stringify({ ...config, hidden_size: -3 }),
    );
    return said("mxfp4-edge.ts", "quantize", model, "-o", "q", "--for", "vllm");
  },
  "writable folder": () =>
    said("start.ts", "--port", "0", "--state", "/proc/x"),
  "--out to be": () => said("train.ts", "--out", join(folder, "no/x")),
  "Expected port": () => {
    const { port } = new URL(edge.url);
    return said("start.ts", "--port", port, "--state", join(folder, "other"));
  },
  "serves from it": () =>
    said("start.ts", "--port", "0", "--state", join(folder, "state")),
  "Expected an answer": () =>
    said("mxfp4-edge.ts", "runs", "--url", "http://127.0.0.1:1"),
  unauthorized: () => answered("/v1/runs", {}, ""),
  forbidden: async () => {
    await begin("joined");
    const { token } = await api.run("joined").joinToken();
    return answered("/v1/runs", {}, token);
  },
  body_too_large: async () => {
    // Only told of: a client learns it before it sends the rest.
    const sent = request(`${edge.url}/v1/files/x`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${TOKEN}`, "Content-Length": 1e12 },
    });
    sent.flushHeaders();
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    const { code, detail } = (await json(answer)) as Record<string, string>;
    sent.destroy();
    return `${answer.statusCode} ${code}: ${detail}`;
  },
  nonfinite_value: () =>
    answered(
      "/v1/quantize?dtype=f32&shape=32",
      tensor([NaN, ...Array<number>(31).fill(1)]),
    ),
  nothing_to_convert: () => {
    const head = JSON.stringify({
      x: { dtype: "I64", shape: [1], data_offsets: [0, 8] },
    }).padEnd(64);
    const length = new Uint8Array(new BigUint64Array([64n]).buffer);
    const body = Buffer.concat([length, Buffer.from(head), Buffer.alloc(8)]);
    return answered("/v1/quantize", { method: "POST", body });
  },
  "Retry-After": async () => {
    const app = new Hono();
    app.onError(answerError);
    app.get("/:code", (c) => {
      const code = c.req.param("code") as "unavailable" | "overloaded";
      throw new AppError(code, "");
    });
    const answers = ["unavailable", "overloaded"].map(async (code) =>
      toldBy(await app.request(`/${code}`)),
    );
    return (await Promise.all(answers)).join(" or ");
  },
  "waits for one more author": () =>
    printed((progress) =>
      progress.event({
        id: 0,
        timeMs: 0,
        type: "waiting",
        step: 3,
        kind: "train",
        microbatch: 0,
        reason: "undecided",
      } satisfies RunEvent),
    ),
  fingerprint_differs: async () => {
    await begin("differs");
    const lease = (trainer: string, fingerprint: string) =>
      answered("/v1/runs/differs/leases", {
        method: "POST",
        body: JSON.stringify({ trainer, bootId: trainer, fingerprint }),
      });
    await lease("one", "4-fma");
    return lease("other", "4-nofma");
  },
  "diverged at step": () =>
    printed((progress) => {
      const status = { step: 4, valLoss: null, valNatsPerByte: null };
      const run = { status: async () => status } as unknown as RunClient;
      return tellOutcome(
        run,
        "diverged",
        1,
        "x.safetensors",
        { textFile: "x.txt", remote: undefined },
        progress,
      );
    }),
  // What pages say, pages-browser.test.ts has them say.
  "on https": () => inSource("pages/join.ts"),
  "relaxed SIMD": () =>
    inSource("pages/training/kernels.ts").replace(
      "${BUILDS[build]}",
      BUILDS["kernels.wasm"],
    ),
};

async function begin(run: string): Promise<void> {
  const model = { layers: 1, width: 64, heads: 1, context: 64 };
  await api.createRun({ run, dataset: "text", model, sequences: 1 });
}

/** The first column of the page's table. */
const rows = readFileSync(join(ROOT, PAGE), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !/^\| (message|-)/.test(line))
  .map((line) => line.split(" | ")[0]!.slice(2).trim());

test("every row is brought about, and nothing else", () => {
  const keys = Object.keys(SAID);
  const found = rows.map((row) => keys.filter((key) => row.includes(key)));
  expect(found.filter(({ length }) => length !== 1)).toEqual([]);
  expect(found.flat().toSorted()).toEqual(keys.toSorted());
});

test.each(rows)("%s", async (row) => {
  const [, bring] = Object.entries(SAID).find(([key]) => row.includes(key))!;
  const text = await bring();
  const status = /^\d{3}/.exec(row)?.[0];
  if (status) expect(text).toMatch(new RegExp(`^${status} `));
  const quotes = [...row.matchAll(/`([^`]+)`/g)].map(([, quote]) => quote!);
  for (const quote of quotes) expect(text).toMatch(asQuoted(quote));
});

/** … stands for what comes there. */
function asQuoted(quote: string): RegExp {
  const parts = quote
    .split("…")
    .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(parts.join("[^\\n]+?"));
}
