/**
 * What trainers send that is wrong, over the network to a real edge: each by the rule that docs/trust.md states, with a
 * message that says what was expected and what came, and the run unharmed.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  encodeFrame,
  frameDigest,
  type FrameHeader,
} from "../../src/api/frame.ts";
import type { Completion, Lease } from "../../src/api/lease.ts";
import type { RunRequest } from "../../src/api/run-config.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { Client } from "../../src/client/client.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { countedTokens } from "../../src/training/data.ts";
import { MAX_SHARD_LENGTH } from "../../src/training/sharding.ts";

const API_TOKEN = "owner's";
const CONFIG: RunRequest = {
  dataset: "corpus",
  model: { layers: 1, width: 64, heads: 2, context: 64 },
  steps: 2,
  microbatches: 3,
  sequences: 1,
  evaluation: { interval: 9, microbatches: 1 },
  gradientDtype: "f32",
  shards: 2,
};
/** What honest trainers push, and tell. */
const TRUE = 0.5;
const LOSS = 64;

let stateFolder: string;
let edge: Running;
let client: Client;

beforeAll(async () => {
  stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-bad-trainers-"));
  edge = await startEdge({ stateFolder, quiet: true, token: API_TOKEN });
  client = new Client({ baseUrl: edge.url, token: API_TOKEN });
  const text = "It was the best of times, it was the worst of times. ";
  await client.putDataset("corpus", new Blob([text.repeat(200)]));
});

afterAll(async () => {
  await edge.close();
  rmSync(stateFolder, { recursive: true, force: true });
});

type Sent = {
  method?: string;
  headers?: Record<string, string | number>;
  body?: Uint8Array | string;
};
type Answer = { status: number; allow: string | undefined; text: string };

/** As it is: no client that knows better stands between. */
function send(path: string, token: string | null, sent: Sent): Promise<Answer> {
  const { method = "PUT", body = "" } = sent;
  const bearer = token === null ? {} : { Authorization: `Bearer ${token}` };
  return new Promise((resolve, reject) => {
    const headers = {
      "Content-Length": Buffer.byteLength(body),
      ...bearer,
      ...sent.headers,
    };
    const asking = request(edge.url + path, { method, headers });
    asking.on("response", (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => (text += part));
      const { statusCode: status, headers: told } = answer;
      answer.on("end", () =>
        resolve({ status: status!, allow: told.allow, text }),
      );
    });
    asking.on("error", reject);
    asking.end(body);
  });
}

/** Bodies as no HTTP client sends them: it is told how long one is, then `write` sends what it will of it. */
function begin(
  path: string,
  token: string,
  sent: { method?: string; headers: Record<string, string | number> },
): { socket: Socket; answer: Promise<string> } {
  const { method = "PUT", headers } = sent;
  const { hostname, port, host } = new URL(edge.url);
  const socket = connect({
    host: hostname,
    port: Number(port),
    allowHalfOpen: true,
  });
  const lines = Object.entries({
    Host: host,
    Authorization: `Bearer ${token}`,
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`);
  let text = "";
  const answer = new Promise<string>((resolve) => {
    socket.on("data", (part) => {
      text += part.toString();
      if (text.includes("\r\n\r\n{")) resolve(text);
    });
    socket.on("error", () => resolve(text)).on("close", () => resolve(text));
  });
  return { socket, answer };
}

/** A trainer with a join token of its own, who tells what the test chooses. */
class Scripted {
  readonly run: RunClient;
  readonly status: RunStatus;
  readonly token: string;
  readonly id: string;
  readonly identity;

  constructor(
    status: RunStatus,
    { token, id }: { token: string; id: string },
    trainer: string,
  ) {
    this.run = new Client({ baseUrl: edge.url, token }).run(status.run);
    this.status = status;
    this.token = token;
    this.id = id;
    this.identity = { trainer, bootId: "boot", fingerprint: "test" };
  }

  async lease(): Promise<Lease> {
    const { lease } = await this.run.lease(this.identity);
    return lease!;
  }

  header({ step, index }: Lease, shard: number): FrameHeader {
    const { start, length } = this.status.shards[shard]!;
    return {
      kind: "gradient",
      dtype: "f32",
      step,
      microbatch: index,
      start,
      length,
    };
  }

  frame(lease: Lease, shard: number, fill = TRUE) {
    const header = this.header(lease, shard);
    const values = new Float32Array(header.length).fill(fill);
    return encodeFrame(header, new Uint8Array(values.buffer));
  }

  frames(lease: Lease, fill = TRUE) {
    return Promise.all(
      this.status.shards.map(({ index }) => this.frame(lease, index, fill)),
    );
  }

  completion(frames: readonly Uint8Array[], more: Partial<Completion> = {}) {
    const { trainer, bootId } = this.identity;
    const digests = frames.map(frameDigest);
    return {
      trainer,
      bootId,
      lossSum: LOSS,
      tokens: 64,
      ...(digests.length > 0 && { digests }),
      ...more,
    };
  }

  async do(lease: Lease, fill = TRUE, more: Partial<Completion> = {}) {
    const frames = lease.kind === "train" ? await this.frames(lease, fill) : [];
    for (const [shard, frame] of frames.entries())
      await this.run.push(shard, lease, frame);
    const tokens = countedTokens(this.status.config, lease.kind, lease.index);
    const told = { tokens, lossSum: tokens, ...more };
    return this.run.complete(lease, this.completion(frames, told));
  }

  /** Train as one should, until the run has ended. */
  async finish(): Promise<void> {
    for (;;) {
      const { state, lease } = await this.run.lease(this.identity);
      if (lease) await this.do(lease);
      else if (state !== "running") return;
    }
  }
}

async function start(changes: Partial<RunRequest> = {}) {
  const status = await client.createRun({ ...CONFIG, ...changes });
  const run = client.run(status.run);
  const join = async (trainer: string) =>
    new Scripted(status, await run.joinToken(), trainer);
  return { status, run, join };
}

/** All that the run tells of what went wrong. */
async function toldOf(run: RunClient): Promise<string[]> {
  const lines: string[] = [];
  for await (const event of run.events()) lines.push(...lineOf(event));
  return lines;
}

function lineOf(event: RunEvent): string[] {
  if (event.type === "conflict")
    return [`conflict ${event.step}.${event.microbatch} ${event.author}`];
  if (event.type === "author") return [`${event.author} ${event.state}`];
  if (event.type === "state") return [event.state];
  return [];
}

/** That every step's gradient was TRUE at each real parameter, and every loss 1. */
async function expectTrue(run: RunClient, status: RunStatus): Promise<void> {
  const metrics = (await run.metrics()).filter(
    ({ gradNorm }) => gradNorm !== null,
  );
  expect(metrics).toHaveLength(status.config.steps);
  const root = Math.sqrt(status.parameters);
  for (const { gradNorm, trainLoss } of metrics) {
    expect(gradNorm!).toBeLessThanOrEqual(TRUE * root);
    expect(gradNorm!).toBeGreaterThan(0.98 * TRUE * root);
    expect(trainLoss).toBe(1);
  }
}

test("what cannot be is refused, told what was expected and what came, and nothing comes of it", async () => {
  const { run, status, join } = await start();
  const [bad, honest] = [await join("bad"), await join("honest")];
  const lease = await bad.lease();
  expect(lease).toMatchObject({ kind: "train", step: 0, index: 0 });
  const runPath = `/v1/runs/${status.run}`;
  const own = `${runPath}/shards/0/gradients/0/0`;
  const toComplete = `${runPath}/leases/train/0/0`;
  const key = { "Lease-Key": lease.key };
  const [frame, second] = await bad.frames(lease);
  const header = bad.header(lease, 0);
  const values = new Uint8Array(4 * header.length);
  const framed = (changes: Partial<FrameHeader>, bytes = values) =>
    encodeFrame({ ...header, ...changes }, bytes);
  const changed = (at: number, byte: number) => {
    const copy = frame!.slice();
    copy[at] = byte;
    return copy;
  };
  const told = bad.completion([frame!, second!]);
  const json = (changes: object) => JSON.stringify({ ...told, ...changes });
  const other = await (await start()).join("another run's");
  const expired = await run.joinToken({ expiresInMs: 1 });
  const revoked = await join("revoked");
  await run.setTokenState(revoked.id, "revoked");
  const forged = bad.token.replace(/.$/, (last) => (last === "A" ? "E" : "A"));
  const most = 4 * MAX_SHARD_LENGTH + 64;

  const cases: [
    what: string,
    path: string,
    sent: Sent,
    status: number,
    code: string,
    says: RegExp,
    token?: string | null,
  ][] = [
    [
      "no token",
      own,
      { headers: key, body: frame! },
      401,
      "unauthorized",
      /Expected a header `Authorization.*got none/,
      null,
    ],
    [
      "a forged token",
      own,
      { headers: key, body: frame! },
      401,
      "unauthorized",
      /Expected the API_TOKEN or a join token.*got another/,
      forged,
    ],
    [
      "another run's token",
      own,
      { headers: key, body: frame! },
      403,
      "forbidden",
      /Expected a route for trainers of run ".*got PUT/,
      other.token,
    ],
    [
      "an expired token",
      own,
      { headers: key, body: frame! },
      401,
      "unauthorized",
      /has not expired, got/,
      expired.token,
    ],
    [
      "a revoked token, pushing",
      own,
      { headers: key, body: frame! },
      409,
      "no_lease",
      /Expected `Lease-Key`.*got another/,
      revoked.token,
    ],
    [
      "a revoked token, completing",
      toComplete,
      { headers: key, body: json({}) },
      409,
      "no_lease",
      /Expected `Lease-Key`.*got another/,
      revoked.token,
    ],
    [
      "a revoked token, asking",
      `${runPath}/leases`,
      { method: "POST", body: JSON.stringify(revoked.identity) },
      401,
      "unauthorized",
      /Expected a join token that the run's owner has not revoked, got/,
      revoked.token,
    ],
    [
      "no key",
      own,
      { body: frame! },
      409,
      "no_lease",
      /of train microbatch 0 of step 0.*got none/,
    ],
    [
      "another's key",
      own,
      { headers: key, body: frame! },
      409,
      "no_lease",
      /Expected `Lease-Key`.*got another/,
      honest.token,
    ],
    [
      "another's key, in one's own name",
      own,
      {
        headers: { "Lease-Key": lease.key.replace(bad.id, honest.id) },
        body: frame!,
      },
      409,
      "no_lease",
      /Expected `Lease-Key`.*got another/,
      honest.token,
    ],
    [
      "a key of another microbatch",
      own.replace(/0$/, "1"),
      { headers: key, body: frame! },
      409,
      "no_lease",
      /of train microbatch 1 of step 0.*got another/,
    ],
    [
      "a future step",
      own.replace("0/0", "1/0"),
      { headers: key, body: frame! },
      409,
      "no_lease",
      /of train microbatch 0 of step 1.*got another/,
    ],
    [
      "a future step, completed",
      toComplete.replace("0/0", "1/0"),
      { headers: key, body: json({}) },
      409,
      "no_lease",
      /of step 1.*got another/,
    ],
    [
      "no number",
      own.replace("0/0", "x/0"),
      { headers: key, body: frame! },
      422,
      "invalid_number",
      /Expected.*got "?x/,
    ],
    [
      "a shard that is none",
      own.replace("shards/0", "shards/9"),
      { headers: key, body: frame! },
      404,
      "shard_not_found",
      /Expected.*got/,
    ],
    [
      "another shard's frame",
      own,
      { headers: key, body: second! },
      422,
      "shape_mismatch",
      /Expected elements \[0, \d+\) of shard 0, got \[/,
    ],
    [
      "a shorter range",
      own,
      {
        headers: key,
        body: await framed({ length: 4096 }, values.slice(0, 4 * 4096)),
      },
      422,
      "shape_mismatch",
      /Expected elements .*got \[0, 4096\)/,
    ],
    [
      "another range as long",
      own,
      { headers: key, body: await framed({ start: 64 }) },
      422,
      "shape_mismatch",
      /Expected elements \[0, \d+\) of shard 0, got \[64, /,
    ],
    [
      "another step's frame",
      own,
      { headers: key, body: await framed({ step: 1 }) },
      422,
      "shape_mismatch",
      /Expected a frame of step 0.*got step 1/,
    ],
    [
      "another microbatch's frame",
      own,
      { headers: key, body: await framed({ microbatch: 2 }) },
      422,
      "shape_mismatch",
      /microbatch 0.*got step 0, microbatch 2/,
    ],
    [
      "another recipe's frame",
      own,
      {
        headers: key,
        body: await framed(
          { dtype: "bf16" },
          values.slice(0, 2 * header.length),
        ),
      },
      422,
      "unsupported_dtype",
      /Expected the run's gradient dtype f32, got bf16/,
    ],
    [
      "parameters",
      own,
      { headers: key, body: await framed({ kind: "parameters" }) },
      400,
      "malformed_frame",
      /Expected a frame of kind gradient, got one of kind parameters/,
    ],
    [
      "another version",
      own,
      { headers: key, body: changed(4, 9) },
      400,
      "malformed_frame",
      /Expected a frame with version 2, got 9/,
    ],
    [
      "another magic",
      own,
      { headers: key, body: changed(0, 0) },
      400,
      "malformed_frame",
      /the magic "MXF4", got 00/,
    ],
    [
      "of the right size, of other bytes than its digest",
      own,
      { headers: key, body: changed(1000, 1) },
      400,
      "digest_mismatch",
      /Expected a frame whose SHA-256 is.*its bytes have/,
    ],
    [
      "a wrong digest",
      own,
      { headers: key, body: changed(40, frame![40]! ^ 1) },
      400,
      "digest_mismatch",
      /Expected a frame whose SHA-256 is.*its bytes have/,
    ],
    [
      "truncated",
      own,
      { headers: key, body: frame!.slice(0, -1) },
      400,
      "malformed_frame",
      /Expected a frame with \d+ bytes for \d+ f32 elements, got \d+/,
    ],
    [
      "a byte more",
      own,
      { headers: key, body: Buffer.concat([frame!, Buffer.alloc(1)]) },
      400,
      "malformed_frame",
      /Expected a frame with \d+ bytes.*got \d+/,
    ],
    [
      "nothing",
      own,
      { headers: key },
      400,
      "malformed_frame",
      /at least 64 bytes, got 0/,
    ],
    [
      "oversized",
      own,
      { headers: key, body: new Uint8Array(most + 1) },
      413,
      "body_too_large",
      new RegExp(`at most ${most} bytes, got ${most + 1}`),
    ],
    [
      "gzip'd",
      own,
      {
        headers: { ...key, "Content-Encoding": "gzip" },
        body: gzipSync(frame!),
      },
      415,
      "unsupported_media_type",
      /Expected a body without Content-Encoding, got "gzip"/,
    ],
    [
      "gzip'd, which is not said",
      own,
      { headers: key, body: gzipSync(frame!) },
      400,
      "malformed_frame",
      /the magic "MXF4", got 1f8b/,
    ],
    [
      "a part",
      own,
      {
        headers: { ...key, "Content-Range": `bytes 0-9/${frame!.length}` },
        body: frame!,
      },
      400,
      "malformed_body",
      /Expected a complete body, got a part, with Content-Range/,
    ],
    [
      "another method",
      own,
      { method: "POST", headers: key, body: frame! },
      405,
      "method_not_allowed",
      /Expected PUT.*got POST/,
    ],
    [
      "another method, completing",
      toComplete,
      { method: "PATCH", headers: key, body: json({}) },
      405,
      "method_not_allowed",
      /Expected PUT.*got PATCH/,
    ],
    [
      "a completion that is a form",
      toComplete,
      {
        headers: {
          ...key,
          "Content-Type": "application/x-www-form-urlencoded",
        },
        body: "lossSum=1",
      },
      400,
      "malformed_json",
      /Expected a body of JSON.*got 9 bytes/,
    ],
    [
      "a completion that is gzip'd",
      toComplete,
      {
        headers: { ...key, "Content-Encoding": "gzip" },
        body: gzipSync(json({})),
      },
      415,
      "unsupported_media_type",
      /got "gzip"/,
    ],
    [
      "a completion of NaN",
      toComplete,
      { headers: key, body: json({}).replace(/"lossSum":64/, '"lossSum":NaN') },
      400,
      "malformed_json",
      /Expected a body of JSON/,
    ],
    [
      "of an infinite loss",
      toComplete,
      {
        headers: key,
        body: json({}).replace(/"lossSum":64/, '"lossSum":1e999'),
      },
      422,
      "invalid_config",
      /Expected `lossSum` to be a number, got Infinity/,
    ],
    [
      "of a loss below zero",
      toComplete,
      { headers: key, body: json({ lossSum: -1e-6 }) },
      422,
      "invalid_number",
      /Expected `lossSum`, a sum of cross-entropies, to be from 0.*got -0.000001/,
    ],
    [
      "of a loss beyond f32",
      toComplete,
      { headers: key, body: json({ lossSum: 1e300 }) },
      422,
      "invalid_number",
      /got 1e\+300/,
    ],
    [
      "of a loss that is text",
      toComplete,
      { headers: key, body: json({ lossSum: "64" }) },
      422,
      "invalid_config",
      /Expected `lossSum` to be.*got/,
    ],
    [
      "of tokens below zero",
      toComplete,
      { headers: key, body: json({ tokens: -64 }) },
      422,
      "invalid_config",
      /Expected `tokens` to be.*got/,
    ],
    [
      "of half a token",
      toComplete,
      { headers: key, body: json({ tokens: 63.5 }) },
      422,
      "invalid_config",
      /Expected `tokens` to be.*got/,
    ],
    [
      "of more tokens than it has",
      toComplete,
      { headers: key, body: json({ tokens: 4e8, bytes: 4e8 }) },
      422,
      "invalid_number",
      /Expected the 64 tokens that train microbatch 0 counts, got 400000000/,
    ],
    [
      "of more tokens than any has",
      toComplete,
      { headers: key, body: json({ tokens: 4e10 }) },
      422,
      "invalid_config",
      /Expected `tokens` to be.*got/,
    ],
    [
      "of other bytes than its tokens",
      toComplete,
      { headers: key, body: json({ bytes: 65 }) },
      422,
      "invalid_number",
      /Expected `bytes` to be 64.*got 65/,
    ],
    [
      "of a frame less",
      toComplete,
      { headers: key, body: json({ digests: told.digests!.slice(1) }) },
      422,
      "shape_mismatch",
      /Expected 2 `digests`, one for each frame.*got 1/,
    ],
    [
      "of a digest that is none",
      toComplete,
      { headers: key, body: json({ digests: ["x", "y"] }) },
      422,
      "invalid_config",
      /Expected `digests.0` to be.*got "x"/,
    ],
    [
      "of what no completion has",
      toComplete,
      { headers: key, body: json({ author: "owner.x" }) },
      422,
      "invalid_config",
      /Expected.*author/,
    ],
    [
      "of an evaluation, with its key",
      toComplete.replace("train", "eval"),
      { headers: key, body: json({}) },
      409,
      "no_lease",
      /of eval microbatch 0 of step 0.*got another/,
    ],
    [
      "in another's name",
      toComplete,
      { headers: key, body: json({ trainer: "No Name" }) },
      422,
      "invalid_config",
      /Expected `trainer` to be.*got "No Name"/,
    ],
  ];
  for (const [what, path, sent, expected, code, says, token] of cases) {
    const answer = await send(
      path,
      token === undefined ? bad.token : token,
      sent,
    );
    expect.soft(answer.status, `${what}: ${answer.text}`).toBe(expected);
    const problem = JSON.parse(answer.text) as { code: string; detail: string };
    expect.soft(problem.code, what).toBe(code);
    expect.soft(problem.detail, what).toMatch(says);
    if (expected === 405) expect.soft(answer.allow, what).toBe("PUT");
  }
  expect((await run.step(0)).microbatches).toEqual([]);

  // One that breaks off: its sender sees no answer, and nothing is stored.
  await expect(
    new Promise((_, reject) => {
      const headers = {
        ...key,
        Authorization: `Bearer ${bad.token}`,
        "Content-Length": frame!.length,
      };
      const asking = request(edge.url + own, { method: "PUT", headers });
      asking.on("error", reject);
      asking.write(frame!.slice(0, 1000), () => asking.destroy());
    }),
  ).rejects.toThrow("hang up");

  // One that breaks off, of a sender who still listens.
  const halves = [
    { path: own, method: "PUT", body: frame!.slice(0, 1000) },
    { path: `${runPath}/leases`, method: "POST", body: '{"trainer"' },
  ];
  for (const { path, method, body } of halves) {
    const { socket, answer } = begin(path, bad.token, {
      method,
      headers: { ...key, "Content-Length": frame!.length % 60_000 },
    });
    socket.end(body);
    const text = await answer;
    expect.soft(text, path).toContain("HTTP/1.1 400 ");
    expect.soft(text, path).toContain("malformed_body");
    expect
      .soft(text, path)
      .toMatch(/Expected .* of .*\d{4,} bytes, got .*broke off/);
    socket.destroy();
  }

  // One of pieces, of which nobody tells how many bytes they are: too long for this shard, and for any.
  for (const [length, code] of [
    [frame!.length + 1, "malformed_frame"],
    [most + 1, "body_too_large"],
  ] as const) {
    const { socket, answer } = begin(own, bad.token, {
      headers: { ...key, "Transfer-Encoding": "chunked" },
    });
    socket.write(`${length.toString(16)}\r\n`);
    socket.write(Buffer.concat([frame!, Buffer.alloc(length - frame!.length)]));
    socket.end("\r\n0\r\n\r\n");
    expect.soft(await answer, code).toContain(`"code":"${code}"`);
    socket.destroy();
  }

  // None of it is held against who sent it, and its own is taken: again and again, and with a media type that says nothing.
  const headers = { ...key, "Content-Type": "text/plain" };
  const again = [201, 200, 200];
  for (const expected of again)
    expect((await send(own, bad.token, { headers, body: frame! })).status).toBe(
      expected,
    );
  await bad.do(lease);
  await Promise.all([bad.finish(), honest.finish()]);
  await expectTrue(run, status);
  expect(await toldOf(run)).toEqual([
    "running",
    `${revoked.id} revoked`,
    "finished",
  ]);
}, 60_000);

test("of a step that is past the same is a duplicate; what differs is refused, and told as a conflict", async () => {
  const { run, status, join } = await start();
  const [late, honest] = [await join("late"), await join("honest")];
  const lease = await late.lease();
  const own = `/v1/runs/${status.run}/shards/0/gradients/0/${lease.index}`;
  const frames = await late.frames(lease);
  for (;;) {
    const { lease: next } = await honest.run.lease(honest.identity);
    if (next!.step > 0) break;
    await honest.do(next!);
  }
  const headers = { "Lease-Key": lease.key };
  const same = await send(own, late.token, { headers, body: frames[0]! });
  expect(same).toMatchObject({ status: 200, text: '{"duplicate":true}' });
  expect(await late.run.complete(lease, late.completion(frames))).toMatchObject(
    { duplicate: true },
  );
  const false_ = await late.frames(lease, 77);
  const push = await send(own, late.token, { headers, body: false_[0]! });
  expect(push.status).toBe(409);
  expect(push.text).toMatch(/different_bytes.*Expected the bytes.*got/);
  await expect(
    late.run.complete(lease, late.completion(false_)),
  ).rejects.toMatchObject({
    code: "different_completion",
    message: expect.stringMatching(/Expected the values.*got/) as string,
  });
  await expect(late.run.pull(0, 0)).rejects.toMatchObject({
    code: "step_gone",
    message: expect.stringMatching(/Expected step 1.*got 0/) as string,
  });
  const early = `/v1/runs/${status.run}/shards/0/parameters?step=2`;
  const pull = await send(early, late.token, { method: "GET" });
  expect(pull.status).toBe(425);
  expect(pull.text).toMatch(/step_not_reached.*Expected step 1.*got 2/);
  await honest.finish();
  await expectTrue(run, status);
  const over = await send(own, late.token, { headers, body: frames[0]! });
  expect(over.status).toBe(410);
  expect(over.text).toMatch(
    /run_ended.*Expected a run that has not ended, got/,
  );
  const conflict = `conflict 0.${lease.index} ${late.id}`;
  expect(await toldOf(run)).toEqual([
    "running",
    conflict,
    conflict,
    "finished",
  ]);
}, 60_000);

test.each([
  ["NaN", NaN, {}],
  ["infinite", Infinity, {}],
  ["of zeros of the other sign", -0, {}],
  ["denormal", 1e-40, {}],
  ["of the other sign", -TRUE, {}],
  ["right, with another loss", TRUE, { lossSum: LOSS + 1e-9 }],
  ["right, with no loss", TRUE, { lossSum: null }],
  ["right, with a loss of minus zero", TRUE, { lossSum: -0 }],
] as const)(
  "a gradient that is %s, of one author of three, is outvoted",
  async (_what, fill, more) => {
    const { run, status, join } = await start({ redundancy: 2 });
    const [liar, one, two] = [
      await join("a"),
      await join("b"),
      await join("c"),
    ];
    const lease = await liar.lease();
    await liar.do(lease, fill, more);
    await Promise.all([one.finish(), two.finish()]);
    await expectTrue(run, status);
    const conflicts = [one, two].map(
      ({ id }) => `conflict 0.${lease.index} ${id}`,
    );
    const [, first, second, ...rest] = await toldOf(run);
    expect([first, second].toSorted()).toEqual(conflicts.toSorted());
    expect(rest).toEqual([`${liar.id} quarantined`, "finished"]);
    await expect(liar.lease()).rejects.toMatchObject({
      code: "forbidden",
      message: expect.stringMatching(/Expected an author.*got/) as string,
    });
  },
  60_000,
);

test.each([
  [NaN, "diverged"],
  [-Infinity, "diverged"],
  [-0, "finished"],
  [1e-40, "finished"],
] as const)(
  "a gradient of nothing but %f that nobody contradicts leaves the run %s, with parameters that are numbers",
  async (fill, state) => {
    const { run, join } = await start();
    const alone = await join("alone");
    for (;;) {
      const { state, lease } = await alone.run.lease(alone.identity);
      if (lease) await alone.do(lease, fill);
      else if (state !== "running") break;
    }
    expect((await run.status()).state).toBe(state);
    expect(await toldOf(run)).toEqual(["running", state]);
    const answer = await run.checkpoint({ state: "parameters" });
    const { tensors } = readSafetensors(
      new Uint8Array(await answer.arrayBuffer()),
    );
    for (const { name, dtype, bytes } of tensors) {
      expect(dtype, name).toBe("F32");
      const values = new Float32Array(bytes.slice().buffer);
      expect(values.every(Number.isFinite), name).toBe(true);
    }
  },
  60_000,
);

test("who completes what it has not pushed, or pushed otherwise, is put out, and the microbatch is computed again", async () => {
  const { run, status, join } = await start();
  const [bare, other, honest] = [
    await join("a"),
    await join("b"),
    await join("c"),
  ];
  const first = await bare.lease();
  await bare.run.complete(first, bare.completion(await bare.frames(first)));
  const second = await other.lease();
  for (const [shard, frame] of (await other.frames(second, 7)).entries())
    await other.run.push(shard, second, frame);
  await other.run.complete(
    second,
    other.completion(await other.frames(second)),
  );
  await honest.finish();
  await expectTrue(run, status);
  const events = await toldOf(run);
  for (const [who, lease] of [
    [bare, first],
    [other, second],
  ] as const) {
    const at = events.indexOf(`conflict 0.${lease.index} ${who.id}`);
    expect(at).toBeGreaterThan(0);
    expect(events[at + 1]).toBe(`${who.id} quarantined`);
  }
  expect(events).toHaveLength(6);
}, 60_000);

test("pushes that are sent a byte at a time hold up nobody else's; revoking their token has them refused", async () => {
  const { run, status, join } = await start({
    model: { layers: 1, width: 192, heads: 2, context: 64 },
    shards: 1,
  });
  const [slow, honest] = [await join("slow"), await join("honest")];
  const lease = await slow.lease();
  const path = `/v1/runs/${status.run}/shards/0/gradients/0/${lease.index}`;
  const headers = {
    "Lease-Key": lease.key,
    "Content-Length": 4 * MAX_SHARD_LENGTH + 64,
  };
  const begun = Array.from({ length: 150 }, () =>
    begin(path, slow.token, { headers }),
  );
  const answers: string[] = [];
  for (const { answer } of begun)
    void answer.then((text) =>
      answers.push(/"code":"(\w+)"/.exec(text)?.[1] ?? text),
    );
  const dripping = setInterval(() => {
    for (const { socket } of begun) if (socket.writable) socket.write("a");
  }, 200);
  try {
    await honest.do(await honest.lease());
    await run.setTokenState(slow.id, "revoked");
    await honest.finish();
    await expectTrue(run, status);
    // Of those that are read, and of more than may wait. An answer comes when the body has been given up.
    await expect.poll(() => answers).toContain("forbidden");
    await expect.poll(() => answers).toContain("overloaded");
  } finally {
    clearInterval(dripping);
    for (const { socket } of begun) socket.destroy();
  }
}, 60_000);
