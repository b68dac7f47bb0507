/** Trainers that join from elsewhere, and the commands with which a person follows and steers a run. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  readdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";

const SOURCE = resolve(import.meta.dirname, "../../src");
const COMMAND = join(SOURCE, "cli/main.ts");
const TRAIN = join(SOURCE, "scripts/train.ts");
const TOKEN = "owner";
/** For what takes a second on an idle machine. */
const PATIENCE = { timeout: 60_000 };
const TEXT = "It was the best of times, it was the worst of times. ".repeat(80);
const RUN = {
  dataset: "corpus",
  model: { layers: 1, width: 64, heads: 2, context: 64 },
  seed: 1,
  steps: 6,
  microbatches: 4,
  sequences: 1,
  evaluation: { interval: 3, microbatches: 2 },
};

let folder: string;
let edge: Running;
let client: Client;
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-join-"));
  edge = await startEdge({ stateFolder: folder, quiet: true, token: TOKEN });
  client = new Client({ baseUrl: edge.url, token: TOKEN });
  await client.putDataset("corpus", new Blob([TEXT]));
  writeFileSync(join(folder, "text.txt"), TEXT);
});

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

type Ended = { code: number | null; stdout: string; stderr: string };

/** The command, as it goes and once it has ended. */
function begin(
  args: string[],
  token = TOKEN,
  script = COMMAND,
  environment: NodeJS.ProcessEnv = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [script, ...args], {
    env: {
      ...process.env,
      MXFP4_EDGE_URL: edge.url,
      MXFP4_EDGE_TOKEN: token,
      NO_COLOR: "1",
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const told = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const)
    child[stream]!.on(
      "data",
      (bytes: Buffer) => (told[stream] += bytes.toString()),
    );
  return {
    child,
    ended: once(child, "close").then(([code]) => ({
      code: code as number | null,
      ...told,
    })),
  };
}

function call(...args: string[]): Promise<Ended> {
  return begin(args).ended;
}

async function newRun(
  changes: object = {},
): Promise<{ run: RunClient; token: string }> {
  const { run } = await client.createRun({ ...RUN, ...changes });
  const { token } = await client.run(run).joinToken();
  return { run: client.run(run), token };
}

async function outcomeOf(run: RunClient) {
  const { state, valLoss } = await run.status();
  const bytes = await (await run.checkpoint()).arrayBuffer();
  return { state, valLoss, checkpoint: Buffer.from(bytes).toString("base64") };
}

/** Resolves at the first microbatch that a joined process has done. */
async function firstMicrobatch(child: ChildProcess): Promise<void> {
  for await (const [bytes] of onData(child))
    if (bytes.includes("microbatch")) return;
}

async function* onData(child: ChildProcess): AsyncGenerator<[string]> {
  for (;;) {
    const [bytes] = (await once(child.stdout!, "data")) as [Buffer];
    yield [bytes.toString()];
  }
}

test("a machine that joins with a join token, is killed, and joins again ends in the bytes of the edge's own trainers", async () => {
  const own = await newRun();
  await own.run.addTrainers(1);
  for await (const _ of own.run.events());
  const expected = await outcomeOf(own.run);
  expect(expected.state).toBe("finished");

  const { run, token } = await newRun();
  const first = begin(["join", edge.url, "--threads", "1", "--json"], token);
  await firstMicrobatch(first.child);
  first.child.kill("SIGKILL");
  const second = await begin(
    ["join", edge.url, "--threads=2", "--name", "my laptop!"],
    token,
  ).ended;
  expect(second).toMatchObject({ code: 0 });
  expect(second.stderr).toMatch(
    /2 trainers join as my-laptop--\d+-1 to my-laptop--\d+-2/,
  );
  expect(second.stderr).toMatch(
    /the run has ended: \d+ microbatches by this machine/,
  );
  expect(await outcomeOf(run)).toEqual(expected);
  const { trainers } = await run.status();
  expect(
    trainers.filter(({ name }) => name.startsWith("my-laptop")),
  ).toHaveLength(2);
});

/** What threads of a process do beside their own work: `fault` is a module of Node's, loaded first. */
function withFault(name: string, fault: string): NodeJS.ProcessEnv {
  const path = join(folder, `${name}.mjs`);
  writeFileSync(path, fault);
  return { NODE_OPTIONS: `--import ${path}` };
}

test("a thread that dies amid the run has another take its place, which is told, and the bytes are the same", async () => {
  const { run, token } = await newRun();
  // Once, of two threads, at its first microbatch.
  const env = withFault(
    "once",
    `import { parentPort } from "node:worker_threads";
    import { writeFileSync } from "node:fs";
    const post = parentPort?.postMessage;
    if (post) parentPort.postMessage = function (message, ...rest) {
      post.call(parentPort, message, ...rest);
      if (message.type !== "microbatch") return;
      try { writeFileSync(${JSON.stringify(join(folder, "died"))}, "", { flag: "wx" }); } catch { return; }
      process.nextTick(() => { throw new Error("a fault"); });
    };`,
  );
  const joining = begin(
    ["join", edge.url, "--threads", "2"],
    token,
    COMMAND,
    env,
  );
  const { code, stderr } = await joining.ended;
  expect(stderr).toMatch(/-[12]: its thread ended, a fault; starts another\n/);
  expect(stderr).toMatch(
    /the run has ended: \d+ microbatches by this machine\n$/,
  );
  expect(code).toBe(0);
  const undisturbed = await newRun();
  await call("join", edge.url, "--run", undisturbed.run.run);
  expect(await outcomeOf(run)).toEqual(await outcomeOf(undisturbed.run));
});

test("a trainer whose threads die again and again is lost, which is told at once, and the others end the run", async () => {
  const { run, token } = await newRun({ steps: 40 });
  const env = withFault(
    "always",
    `import { workerData } from "node:worker_threads";
    if (workerData?.trainer.endsWith("-1")) throw new Error("a fault");`,
  );
  const joining = begin(
    ["join", edge.url, "--threads", "2"],
    token,
    COMMAND,
    env,
  );
  const { code, stderr } = await joining.ended;
  const lines = stderr.split("\n");
  const deaths = lines.filter((line) =>
    line.endsWith("-1: its thread ended, a fault; starts another"),
  );
  expect(deaths).toHaveLength(4);
  expect(stderr).toMatch(
    /-1 trains no more: a fault\n(.*\n)*the run has ended: 1\d\d microbatches by this machine\n$/,
  );
  expect(code).toBe(0);
  expect(await run.status()).toMatchObject({ state: "finished" });
});

test("where the threads of all trainers die, the command ends by what they died of", async () => {
  const { run, token } = await newRun();
  const env = withFault(
    "all",
    `import { isMainThread } from "node:worker_threads";
    if (!isMainThread) throw new Error("a fault");`,
  );
  const joining = begin(
    ["join", edge.url, "--threads", "1"],
    token,
    COMMAND,
    env,
  );
  const { code, stderr } = await joining.ended;
  expect(code).toBe(1);
  expect(stderr).not.toMatch(/trains no more|run has ended/);
  expect(stderr).toMatch(/a fault\n$/);
  await run.setState("cancelled");
});

test("a machine that joins has its part beside a trainer of the edge's own, whose loop it shares", async () => {
  const { run, token } = await newRun({ steps: 100_000, sequences: 16 });
  await run.addTrainers(1);
  const far = ["join", edge.url, "--threads", "1", "--name", "far"];
  const joined = begin(far, token);
  const completed = async () => {
    const { trainers } = await run.status();
    const of = (isFar: boolean) =>
      trainers.find(({ name }) => name.startsWith("far") === isFar);
    return {
      far: of(true)?.completions ?? 0,
      own: of(false)?.completions ?? 0,
    };
  };
  let last = await completed();
  while (last.far < 10 && last.own < 3000) last = await completed();
  // In turns of a tenth of a second and more it has one in thousands, if any.
  expect(last.far).toBeGreaterThanOrEqual(10);
  joined.child.kill("SIGINT");
  expect((await joined.ended).code).toBe(0);
  await run.setState("cancelled");
});

test("one that is told to end leaves at once, and what it held is open", async () => {
  const { run, token } = await newRun({ steps: 10_000 });
  const joined = begin(["join", edge.url, "--threads", "1", "--json"], token);
  await firstMicrobatch(joined.child);
  const watched = begin(["watch", run.run]);
  // Its second evaluation: three steps are told by then, none in a line of its own where there is no terminal.
  for await (const [text] of onData(watched.child))
    if (/^step 3 /m.test(text)) break;
  watched.child.kill("SIGINT");
  expect(await watched.ended).toMatchObject({
    code: 130,
    stdout: expect.stringMatching(
      new RegExp(`\\d\\.\\d\\d [⠀-⣿]{60}\\n[^]*\\nrun ${run.run} goes on\\n$`),
    ) as string,
  });
  joined.child.kill("SIGINT");
  expect(await joined.ended).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/left: \d+ microbatches/) as string,
  });
  const changes: string[] = [];
  for await (const event of run.events()) {
    if (event.type === "trainer") changes.push(event.change);
    if (changes.includes("left")) break;
  }
  expect(changes).toEqual(["joined", "left"]);
  await run.setState("cancelled");
});

test.each([
  [
    "no run and a token that names none",
    ["join", "URL"],
    TOKEN,
    2,
    /Expected --run, or a join token/,
  ],
  [
    "no threads",
    ["join", "URL", "--run", "RUN", "--threads", "0"],
    TOKEN,
    2,
    /Expected --threads to be a whole number from 1 to 64, got "0"/,
  ],
  [
    "a token of nobody",
    ["join", "URL", "--run", "RUN"],
    "nobody",
    1,
    /Expected the API_TOKEN or a join token/,
  ],
  [
    "a run that is not there",
    ["join", "URL", "--run", "none"],
    TOKEN,
    1,
    /Expected the id of a run/,
  ],
  [
    "a token of another run",
    ["watch", "RUN"],
    "JOIN",
    1,
    /Expected a route for trainers of run/,
  ],
])("join with %s is refused", async (_what, args, token, code, message) => {
  const { run } = await newRun();
  const other = await newRun();
  const told = args.map((arg) =>
    arg.replace("URL", edge.url).replace("RUN", run.run),
  );
  const ended = await begin(told, token.replace("JOIN", other.token)).ended;
  expect(ended.stderr).toMatch(message);
  expect(ended.code).toBe(code);
});

test("runs, pause, resume, watch and cancel say and do what they are called", async () => {
  const { run, token } = await newRun({ steps: 5 });
  const id = run.run;
  const listed = (await call("runs")).stdout.split("\n");
  expect(listed[0]).toMatch(
    /^run +name +state +step +loss +val loss +recipe +trainers$/,
  );
  expect(listed.find((line) => line.startsWith(id))).toMatch(
    / running +0\/5 +- +- +mxfp4/,
  );

  expect(await call("pause", id)).toMatchObject({
    code: 0,
    stdout: `run ${id} is paused, at 0 of 5 steps\n`,
  });
  expect((await run.status()).state).toBe("paused");
  const paused = begin(["watch", id]);
  const [told] = (await once(paused.child.stderr!, "data")) as [Buffer];
  expect(told.toString()).toMatch(
    /the run is paused: .*resume run-.* resumes it/,
  );
  paused.child.kill("SIGINT");
  expect((await paused.ended).code).toBe(130);
  const status = JSON.parse((await call("resume", id, "--json")).stdout) as {
    state: string;
  };
  expect(status.state).toBe("running");

  const watched = begin(["watch", id]);
  const machine = begin(["join", edge.url, "--threads", "1"], token);
  expect(await watched.ended).toMatchObject({ code: 0 });
  const { stdout, stderr: waiting } = await watched.ended;
  expect(waiting).toContain(`--run ${id}\` trains in it with this machine`);
  expect(stdout).toMatch(/step 5\/5 {2}loss \d/);
  expect(stdout).toMatch(/step 5 {2}val loss \d\.\d{4}/);
  expect(stdout).toMatch(/\d\.\d\d [⠀-⣿]{60}\n/);
  expect(stdout).toMatch(/step 0 +nats per byte +4\n/);
  expect(stdout).toContain(`run ${id} is finished`);
  expect((await machine.ended).code).toBe(0);

  const late = await begin(["join", edge.url], token).ended;
  expect([late.code, late.stderr]).toEqual([
    1,
    "Expected a run that has not ended, got one that is finished\n",
  ]);

  const events = (await call("watch", id, "--json")).stdout.trim().split("\n");
  expect(JSON.parse(events.at(-1)!)).toMatchObject({
    type: "state",
    state: "finished",
  });
  expect(await call("cancel", id)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(
      "Expected a run that has not ended",
    ) as string,
  });
  const another = await newRun();
  expect((await call("cancel", another.run.run)).stdout).toMatch(
    /is cancelled at 0 of 6 steps/,
  );
});

test("tokens, revoke, reinstate, fingerprint, audit and rewind say and do what they are called", async () => {
  const { run, token } = await newRun({ steps: 2 });
  const id = run.run;
  const issued = (await call("tokens", id, "--issue", "--days", "1")).stdout;
  expect(issued).toMatch(/^join\./);
  const [first, second] = await run.joinTokens();
  expect(token).toContain(`.${first!.id}.`);
  expect(second!.expiresMs! - second!.issuedMs!).toBe(24 * 60 * 60 * 1000);
  expect((await call("revoke", id, first!.id)).stdout).toBe(
    `${first!.id} is revoked\n`,
  );
  const { id: brief } = await run.joinToken({ expiresInMs: 1 });
  const listed = (await call("tokens", id)).stdout.split("\n");
  expect(listed[0]).toMatch(/^token +state +expires$/);
  expect(listed[1]).toMatch(new RegExp(`^${first!.id} +revoked +2`));
  expect(listed[2]).toMatch(new RegExp(`^${second!.id} +active +2`));
  expect(listed[3]).toMatch(new RegExp(`^${brief} +expired +2`));
  const refused = await begin(["join", edge.url, "--threads", "1"], token)
    .ended;
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("has not revoked");
  expect((await call("reinstate", id, "1")).stdout).toBe(
    `${first!.id} is active\n`,
  );
  expect((await call("fingerprint", id)).stdout).toBe(
    "none: the next trainer that joins sets it\n",
  );
  expect((await call("fingerprint", id, "--set", "mine")).stdout).toBe(
    "mine\n",
  );
  expect((await call("fingerprint", id, "--set", "a", "--reset")).code).toBe(2);
  await call("fingerprint", id, "--reset");
  expect(
    (await begin(["join", edge.url, "--threads", "1"], token).ended).code,
  ).toBe(0);
  expect(await call("audit", id, "--against", id)).toMatchObject({
    code: 0,
    stdout: "no false step up to step 1\n",
  });
  // Of both steps and the last evaluation, and of one step from a checkpoint.
  expect(await call("audit", id, "--all")).toMatchObject({
    code: 0,
    stdout: "no false step up to step 2, 3 recomputed here\n",
  });
  const state = join(folder, "state.safetensors");
  const answer = await run.checkpoint({ state: "full", step: 0 });
  writeFileSync(state, Buffer.from(await answer.arrayBuffer()));
  const own = await call("audit", id, "--state", state, "--json");
  expect(JSON.parse(own.stdout)).toEqual({ last: 0, first: null, computed: 1 });
  const last = join(folder, "last.safetensors");
  const ending = await run.checkpoint({ state: "full" });
  writeFileSync(last, Buffer.from(await ending.arrayBuffer()));
  for (const [args, message] of [
    [
      ["--state", last, "--step", "1"],
      "Expected a step from 2 on, that of --state, got 1",
    ],
    [
      ["--against", id, "--step", "2"],
      "Expected a step from 0 to 1, which both runs have committed, got 2",
    ],
    [["--step", "3"], "Expected a step up to 2, the last committed one"],
    [["--step", "1", "--all"], "Expected --step or --all"],
    [["--against", id, "--all"], "Expected --all without --against"],
    [["--state", join(folder, "none")], "none"],
  ] as const) {
    const refusal = await call("audit", id, ...args);
    expect(refusal.stderr).toContain(message);
    expect(refusal.code).toBeGreaterThan(0);
  }
  const other = (await newRun()).run.run;
  expect((await call("audit", other, "--state", state)).stderr).toContain(
    "Expected a run with a committed step, got one without",
  );
  expect((await call("rewind", other, "--step", "0")).stdout).toBe(
    `run ${other} is running, at 0 of 6 steps\n`,
  );
  expect((await call("rewind", other, "--step", "1")).stderr).toContain(
    "Expected a step up to 0, where the run is, got 1",
  );
  expect((await call("rewind", id, "--step", "1")).stderr).toContain(
    "Expected a run that has not ended, got one that is finished",
  );
  expect((await call("rewind", id, "--step", "1")).stderr).toContain(
    `/v1/runs/${id}/checkpoint?state=full&step=STEP"\` saves the state; \``,
  );
  expect((await call("rewind", id, "--step", "1")).stderr).toContain(
    '-H "Authorization: Bearer $MXFP4_EDGE_TOKEN"',
  );
  expect((await call("rewind", id)).code).toBe(2);
});

/** `npm run train` on the edge that is there already. */
function beginTrain(...args: string[]): ReturnType<typeof begin> {
  const sizes =
    "--layers 1 --width 64 --heads 2 --context 32 --steps 4 --batch 8 --sample-every 0";
  const all = [
    "--text",
    join(folder, "text.txt"),
    "--state",
    join(folder, "home"),
    ...sizes.split(" "),
    ...args,
  ];
  return begin(all, TOKEN, TRAIN);
}

function train(...args: string[]): Promise<Ended> {
  return beginTrain(...args).ended;
}

test("npm run train --url trains on an edge elsewhere: its trainers and this machine's give the same bytes", async () => {
  const checkpoints = await Promise.all(
    [
      ["--trainers", "1"],
      ["--trainers", "0", "--threads", "2"],
    ].map(async (trainers, index) => {
      const out = join(folder, `${index}.safetensors`);
      const ended = await train("--url", edge.url, ...trainers, "--out", out);
      expect(ended.stderr).toBe("");
      expect(ended).toMatchObject({ code: 0 });
      expect(ended.stdout).toMatch(
        /done val_loss=\d\.\d{4} val_nats_per_byte=\d\.\d{4} steps=4/,
      );
      return readFileSync(out);
    }),
  );
  expect(checkpoints[0]!.length).toBeGreaterThan(100_000);
  expect(checkpoints[1]).toEqual(checkpoints[0]);
  // Nothing of an edge of its own.
  expect(existsSync(join(folder, "home/train"))).toBe(false);
});

test("npm run train --url, killed and typed again, goes on with its run to the bytes of one that was not killed", async () => {
  const kept = (name: string, file: string) =>
    join(folder, "home/runs", name, file);
  const line = (name: string) =>
    `--url ${edge.url} --trainers 1 --threads 1 --steps 20 --name ${name}`.split(
      " ",
    );
  const whole = train(...line("whole"));

  const killed = beginTrain(...line("killed"));
  const noteFile = kept("killed", "unfinished.json");
  await expect.poll(() => existsSync(noteFile), PATIENCE).toBe(true);
  const { run } = JSON.parse(readFileSync(noteFile, "utf8")) as { run: string };
  const pause = () => client.run(run).setState("paused");
  const isPaused = () =>
    pause().then(
      () => true,
      () => false,
    );
  await expect.poll(isPaused, PATIENCE).toBe(true);
  const hosted = async () => {
    const { trainers } = await client.run(run).status();
    return trainers.filter(({ host }) => host === "edge").length;
  };
  await expect.poll(hosted, PATIENCE).toBe(1);
  // The trainer is there before the note tells of it.
  const noted = () => readFileSync(noteFile, "utf8");
  await expect.poll(noted, PATIENCE).toContain('"hosted":1');
  killed.child.kill("SIGKILL");
  await killed.ended;
  const note = noted();
  // As one leaves it that is killed amid its last moments.
  const checkpoint = kept("killed", "checkpoint.safetensors");
  writeFileSync(`${checkpoint}.${run}.partial`, "half");

  const again = beginTrain(...line("killed"));
  for await (const [text] of onData(again.child))
    if (
      /^continues the interrupted run at step \d+, which is paused: .*resume/m.test(
        text,
      )
    )
      break;
  await client.run(run).setState("running");
  expect(await again.ended).toMatchObject({ code: 0, stderr: "" });
  expect(await whole).toMatchObject({ code: 0, stderr: "" });
  expect(await hosted()).toBe(1);
  const bytes = (name: string) =>
    readFileSync(kept(name, "checkpoint.safetensors"));
  expect(bytes("killed").equals(bytes("whole"))).toBe(true);
  const metrics = readFileSync(kept("killed", "metrics.jsonl"), "utf8");
  expect(metrics.split("\n").length).toBe(22);
  expect(readdirSync(kept("killed", "")).toSorted()).toEqual([
    "checkpoint.safetensors",
    "metrics.jsonl",
  ]);

  // As one leaves it that is killed before its run is there, or as soon as all is saved.
  writeFileSync(noteFile, note.replace(run, "not-yet"));
  const begun = await train(...line("killed"));
  expect(begun).toMatchObject({ code: 0, stderr: "" });
  expect(begun.stdout).not.toContain("goes on");
  expect((await client.run("not-yet").status()).state).toBe("finished");
  expect(bytes("killed").equals(bytes("whole"))).toBe(true);
});

test("--detach leaves the run, which goes on to its end", async () => {
  const detached = ["--url", edge.url, "--trainers", "1", "--detach", "--json"];
  const { code, stdout, stderr } = await train(
    ...detached,
    "--name",
    "detached",
  );
  expect(code).toBe(0);
  const { run, ...told } = JSON.parse(stdout) as { run: string };
  expect(told).toMatchObject({ type: "left" });
  expect(stderr).toContain(`run ${run} continues on the edge`);
  expect(existsSync(join(folder, "home/runs/detached"))).toBe(false);
  for await (const _ of client.run(run).events());
  expect((await client.run(run).status()).state).toBe("finished");
});

test.each([
  [["--detach"], /Expected --detach only with --url/, 2],
  [["--url", "URL", "--trainers", "0"], /Expected at least one trainer/, 2],
  [
    ["--url", "URL", "--threads", "1", "--detach"],
    /Expected --detach with --trainers of at least 1/,
    2,
  ],
  [
    ["--url", "URL", "--token", "nobody"],
    /Expected the API_TOKEN[^]*\nPass the edge's API_TOKEN/,
    1,
  ],
  [["--url", "http://127.0.0.1:9"], /Expected an answer from/, 1],
] as const)("npm run train %j is refused", async (args, message, expected) => {
  const { code, stderr } = await train(
    ...args.map((arg) => arg.replace("URL", edge.url)),
  );
  expect(stderr).toMatch(message);
  expect(code).toBe(expected);
});
