import {
  type ChildProcess,
  execFileSync,
  spawn,
  spawnSync,
} from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startEdge, startTrainerHost } from "../../src/local/edge.ts";
import { endStale } from "../../src/local/processes.ts";

/** For what takes seconds on an idle machine. */
const PATIENCE_MS = 60_000;
const SRC = resolve(import.meta.dirname, "../../src");

let stateFolder: string;
let children: ChildProcess[];

beforeEach(() => {
  stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-edge-test-"));
  children = [];
});

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await untilGone(runtimes());
  rmSync(stateFolder, { recursive: true, force: true });
});

/** Pids of the runtimes that were started on the state folder. */
function runtimes(folder = stateFolder): number[] {
  const pids = join(folder, "pids");
  return existsSync(pids) ? readdirSync(pids).map(Number) : [];
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilGone(
  pids: number[],
  timeoutMs = PATIENCE_MS,
): Promise<number[]> {
  const deadline = Date.now() + timeoutMs;
  while (pids.some(isAlive) && Date.now() < deadline) {
    await new Promise((wake) => setTimeout(wake, 50));
  }
  return pids.filter(isAlive);
}

/** A process that serves from the state folder, with one trainer host; resolves once both are up. */
async function serveElsewhere(
  afterwards: string,
  folder = stateFolder,
): Promise<ChildProcess> {
  const script = `
    import { startEdge, startTrainerHost } from ${JSON.stringify(join(SRC, "local/edge.ts"))};
    const stateFolder = ${JSON.stringify(folder)};
    const edge = await startEdge({ stateFolder, quiet: true });
    await startTrainerHost({ apiUrl: edge.url, stateFolder });
    console.log("up");
    ${afterwards}
  `;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "--eval", script],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  children.push(child);
  const [line] = (await once(createInterface(child.stdout!), "line")) as [
    string,
  ];
  expect(line).toBe("up");
  return child;
}

test("the edge serves the built Worker, and is gone after close", async () => {
  const edge = await startEdge({ stateFolder, quiet: true });
  expect(edge.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const health = await fetch(`${edge.url}/healthz`);
  // As the Worker made it: no other one stands between.
  expect(health.headers.get("Content-Encoding")).toBe(null);
  expect(health.headers.get("Content-Length")).toBe("15");
  expect(await health.json()).toEqual({ status: "ok" });

  const answer = await fetch(`${edge.url}/v1/quantize?dtype=f32&shape=32`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: new Uint8Array(128),
  });
  expect(answer.status).toBe(200);
  const { byteLength } = await answer.arrayBuffer();
  expect(answer.headers.get("Content-Length")).toBe(`${byteLength}`);

  const pids = runtimes();
  expect(pids.length).toBe(1);
  await edge.close();
  expect(await untilGone(pids)).toEqual([]);
  await expect(fetch(`${edge.url}/healthz`)).rejects.toThrow();
});

test("with pages the API has a way of its own besides; with a token it has none", async () => {
  const options = { stateFolder, quiet: true, pages: true };
  const edge = await startEdge(options);
  const statusOf = async (url: string) => (await fetch(url)).status;
  expect(await statusOf(`${edge.url}/play`)).toBe(200);
  expect(await statusOf(`${edge.apiUrl}/healthz`)).toBe(200);
  expect(await statusOf(`${edge.apiUrl}/play`)).toBe(404);
  await edge.close();
  for (const other of [{ token: "secret" }, { pages: false }]) {
    const alone = await startEdge({ ...options, ...other });
    expect(alone.apiUrl).toBe(alone.url);
    await alone.close();
  }
});

test("a trainer host finds the edge's runs through its API, and restarts do not lose them", async () => {
  const edge = await startEdge({ stateFolder, quiet: true });
  const host = await startTrainerHost({ apiUrl: edge.url, stateFolder });
  const call = async (url: string, method: string, body?: string) => {
    const answer = await fetch(url, { method, body: body ?? null });
    return { status: answer.status, text: await answer.text() };
  };
  const text = "To be, or not to be, that is the question. ".repeat(500);
  expect(await call(`${edge.url}/v1/datasets/text`, "PUT", text)).toMatchObject(
    { status: 201 },
  );
  const request = JSON.stringify({
    run: "r1",
    dataset: "text",
    steps: 1,
    model: { layers: 1, width: 64, heads: 1, context: 64 },
  });
  expect(await call(`${edge.url}/v1/runs`, "POST", request)).toMatchObject({
    status: 201,
  });
  const start = '{"count":1}';
  expect(
    await call(`${host.url}/v1/runs/r1/trainers`, "POST", start),
  ).toMatchObject({ status: 201 });
  expect(
    await call(`${host.url}/v1/runs/r2/trainers`, "POST", start),
  ).toMatchObject({ status: 404 });
  await expect
    .poll(async () => (await call(`${edge.url}/v1/runs/r1`, "GET")).text)
    .toContain('"state":"finished"');
  await host.close();
  await edge.close();

  const again = await startEdge({ stateFolder, quiet: true });
  const status = await call(`${again.url}/v1/runs/r1`, "GET");
  expect(status.text).toContain('"state":"finished"');
  await again.close();
});

test("over the network, too, local mode refuses a foreign Host and Origin", async () => {
  const edge = await startEdge({ stateFolder, quiet: true });
  const status = (headers: Record<string, string>) =>
    new Promise((answer, fail) => {
      const call = request(`${edge.url}/healthz`, { headers }, (response) => {
        response.resume();
        answer(response.statusCode);
      });
      call.on("error", fail).end();
    });
  expect(await status({})).toBe(200);
  expect(await status({ Host: "evil.example" })).toBe(403);
  expect(await status({ Origin: "http://evil.example" })).toBe(403);
  await edge.close();
});

describe("a state folder is served from by one process at a time", () => {
  test("and is free again after it", async () => {
    const edge = await startEdge({ stateFolder, quiet: true });
    await expect(startEdge({ stateFolder, quiet: true })).rejects.toThrow(
      `process ${process.pid} serves from it`,
    );
    await edge.close();
    const again = await startEdge({ stateFolder, quiet: true });
    await again.close();
  });

  test("of two starts at once, twenty times, one gets it", async () => {
    const folders = Array.from({ length: 20 }, (_, i) =>
      join(stateFolder, `${i}`),
    );
    const script = `
      import { lockFolder } from ${JSON.stringify(join(SRC, "local/lock.ts"))};
      console.log("ready");
      process.stdin.once("data", async () => {
        const locks = ${JSON.stringify(folders)}.map((folder) => lockFolder(folder));
        const outcomes = await Promise.allSettled(locks);
        console.log(outcomes.map(({ status }) => status[0]).join(""));
      });
      process.stdin.on("end", () => process.exit());
    `;
    const starts = ["a", "b"].map(() => {
      const child = spawn(
        process.execPath,
        ["--input-type=module", "--eval", script],
        { stdio: ["pipe", "pipe", "inherit"] },
      );
      children.push(child);
      const lines = createInterface(child.stdout);
      return { child, next: () => once(lines, "line") as Promise<[string]> };
    });
    await Promise.all(starts.map(({ next }) => next()));
    const outcomes = Promise.all(starts.map(({ next }) => next()));
    for (const { child } of starts) child.stdin.write("go\n");
    const [[a], [b]] = (await outcomes) as [[string], [string]];
    expect(a).toMatch(/^[fr]{20}$/);
    expect(b).toBe(Array.from(a, (got) => (got === "f" ? "r" : "f")).join(""));
  });

  test("whose end, by SIGKILL too, is the lock's, whatever pid was noted", async () => {
    const parent = await serveElsewhere("setInterval(() => {}, 1000);");
    await expect(startEdge({ stateFolder, quiet: true })).rejects.toThrow(
      `process ${parent.pid} serves from it`,
    );
    parent.kill("SIGKILL");
    await once(parent, "exit");
    // As in a container, where the next process has the pid of the last.
    writeFileSync(join(stateFolder, "edge.pid"), `${process.pid}`);
    const edge = await startEdge({ stateFolder, quiet: true });
    await edge.close();
  });

  test("without the warning that older Nodes give of SQLite, and with any other", () => {
    const asOlder = `
      const load = process.getBuiltinModule;
      process.getBuiltinModule = (id) => {
        const warn = (text) => process.emitWarning(text, "ExperimentalWarning");
        if (id === "node:sqlite") {
          warn("SQLite is an experimental feature and might change at any time");
          warn("Another is, too");
        }
        return load(id);
      };
    `;
    const script = `
      import { lockFolder } from ${JSON.stringify(join(SRC, "local/lock.ts"))};
      (await lockFolder(${JSON.stringify(stateFolder)})).release();
    `;
    const preload = `data:text/javascript,${encodeURIComponent(asOlder)}`;
    const { status, stderr } = spawnSync(process.execPath, [
      `--import=${preload}`,
      "--input-type=module",
      `--eval=${script}`,
    ]);
    expect(status).toBe(0);
    expect(stderr.toString()).toContain("ExperimentalWarning: Another is, too");
    expect(stderr.toString()).not.toContain("SQLite");
  });

  test("and one that is about to end is waited for", async () => {
    const edge = await startEdge({ stateFolder, quiet: true });
    edge.announceEnd();
    const next = startEdge({ stateFolder, quiet: true });
    // Longer than an owner that has not said so is waited for.
    await new Promise((wake) => setTimeout(wake, 2_000));
    await edge.close();
    await (await next).close();
  });
});

test("a port that is taken is refused, and leaves nothing behind", async () => {
  const edge = await startEdge({ stateFolder, quiet: true });
  const port = Number(new URL(edge.url).port);
  const other = join(stateFolder, "other");
  await expect(
    startEdge({ stateFolder: other, port, quiet: true }),
  ).rejects.toThrow(
    `Expected port ${port} of 127.0.0.1 to be free, but something listens on it; --port 0 takes one`,
  );
  await edge.close();
  const again = await startEdge({ stateFolder: other, port, quiet: true });
  expect(again.url).toBe(edge.url);
  await again.close();
});

test("no runtime outlives its parent, however that ends", async () => {
  const signals = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"] as const;
  const scripts = ["process.exit(3);", "throw 'on purpose';"];
  const left = async (signal: NodeJS.Signals, script: string, own: string) => {
    const folder = join(stateFolder, own);
    const onSignal =
      script && `process.once("${signal}", () => { ${script} });`;
    const parent = await serveElsewhere(
      `${onSignal} setInterval(() => {}, 1000);`,
      folder,
    );
    const pids = runtimes(folder);
    expect(pids.filter(isAlive).length, own).toBe(2);
    parent.kill(signal);
    await once(parent, "exit");
    const outlived = await untilGone(pids);
    for (const pid of outlived) process.kill(pid, "SIGKILL");
    return outlived;
  };
  const all = [
    ...signals.map((signal) => left(signal, "", signal)),
    ...scripts.map((script, i) => left("SIGUSR2", script, `script-${i}`)),
  ];
  expect(await Promise.all(all)).toEqual(all.map(() => []));
});

describe("a runtime that dies comes back at the same URL, under a guard of its own", () => {
  const answers = async (url: string) => {
    await expect
      .poll(() => fetch(`${url}/healthz`).then(({ status }) => status), {
        timeout: PATIENCE_MS,
      })
      .toBe(200);
  };

  test("and says so", async () => {
    const lines: string[] = [];
    const report = (line: string) => lines.push(line);
    const edge = await startEdge({ stateFolder, quiet: true, report });
    const [before] = runtimes();
    process.kill(before!, "SIGKILL");
    await untilGone([before!]);
    await answers(edge.url);
    expect(
      runtimes().filter((pid) => pid !== before && isAlive(pid)).length,
    ).toBe(1);
    expect(lines).toEqual(["edge: its runtime ended; started again"]);
    await edge.close();
  });

  test("also when it is killed again and again while it starts", async () => {
    const edge = await startEdge({
      stateFolder,
      quiet: true,
      pages: true,
      report: () => {},
    });
    const host = await startTrainerHost({
      apiUrl: edge.url,
      stateFolder,
      report: () => {},
    });
    const killed = new Set<number>();
    // Each as soon as its guard has noted it, which is before workerd itself runs.
    const deadline = Date.now() + PATIENCE_MS;
    while (killed.size < 12 && Date.now() < deadline) {
      for (const pid of runtimes()) {
        if (killed.has(pid) || !isAlive(pid)) continue;
        killed.add(pid);
        process.kill(pid, "SIGKILL");
      }
      await new Promise((wake) => setTimeout(wake, 5));
    }
    expect(killed.size).toBeGreaterThanOrEqual(12);
    await answers(edge.url);
    await answers(edge.apiUrl);
    await answers(host.url);
    await host.close();
    await edge.close();
  });
});

describe("a start ends what a dead process left", () => {
  const note = (pid: number, words: string) =>
    writeFileSync(join(stateFolder, "pids", `${pid}`), words);
  const startOf = (pid: number) =>
    execFileSync(join(SRC, "local/guarded-workerd.sh"), ["start-of", `${pid}`])
      .toString()
      .trim();

  test("and nothing else: pids are given again", async () => {
    const edge = await startEdge({ stateFolder, quiet: true });
    const [own] = runtimes();
    const dead = spawn("true");
    await once(dead, "exit");
    const [orphan, recycled, stranger] = [1, 2, 3].map(() => {
      const child = spawn("sleep", ["60"], { argv0: "workerd" });
      children.push(child);
      return child;
    }) as [ChildProcess, ChildProcess, ChildProcess];
    // A runtime whose parent is gone and whose guard failed; one whose parent's pid is now another
    // process's; and a pid that now is another program's, even if it is a workerd.
    note(orphan.pid!, `${dead.pid} 1-gone ${startOf(orphan.pid!)}`);
    note(recycled.pid!, `${process.pid} 1-gone ${startOf(recycled.pid!)}`);
    note(stranger.pid!, `${dead.pid} 1-gone 2-gone`);
    expect(
      readFileSync(join(stateFolder, "pids", `${own}`), "utf8").trim(),
    ).toBe(`${process.pid} ${startOf(process.pid)} ${startOf(own!)}`);

    const ended = [orphan, recycled].map((child) => once(child, "exit"));
    await endStale(stateFolder);
    expect(await Promise.all(ended)).toEqual([
      [null, "SIGKILL"],
      [null, "SIGKILL"],
    ]);
    expect(isAlive(stranger.pid!)).toBe(true);
    expect(isAlive(own!)).toBe(true);
    expect(runtimes()).toEqual([own]);
    await edge.close();
  });

  test("its temporary folders too, and keeps its own", async () => {
    const edge = await startEdge({ stateFolder, quiet: true });
    const [own] = readdirSync(join(stateFolder, "tmp"));
    mkdirSync(join(stateFolder, "tmp", `${process.pid} 1-gone`));
    await endStale(stateFolder);
    expect(readdirSync(join(stateFolder, "tmp"))).toEqual([own]);
    await edge.close();
  });
});

test("starts leave no more files behind than one does", async () => {
  const files = () => readdirSync(stateFolder, { recursive: true }).length;
  const once = async () => {
    const edge = await startEdge({ stateFolder, quiet: true });
    const host = await startTrainerHost({ apiUrl: edge.url, stateFolder });
    const pids = runtimes();
    await host.close();
    await edge.close();
    await untilGone(pids);
    // The guards remove their notes within a second of that.
    await expect
      .poll(() => runtimes().length, { timeout: PATIENCE_MS })
      .toBe(0);
    // Each trainer host of a process has a log of its own.
    return (
      files() -
      readdirSync(stateFolder).filter((name) => name.endsWith(".log")).length
    );
  };
  const first = await once();
  expect(await once()).toBe(first);
  expect(statSync(join(stateFolder, "edge.log")).size).toBeLessThan(
    4 * 2 ** 20,
  );
});

test.skipIf(process.platform !== "linux")(
  "serves on where the disk takes no more of its log, and says that once",
  async () => {
    symlinkSync("/dev/full", join(stateFolder, "edge.log"));
    const said: string[] = [];
    const edge = await startEdge({
      stateFolder,
      logsRequests: true,
      report: (line) => said.push(line),
    });
    for (let request = 0; request < 3; request++)
      expect((await fetch(`${edge.url}/healthz`)).status).toBe(200);
    await expect
      .poll(() => said, { timeout: PATIENCE_MS })
      .toEqual([
        expect.stringMatching(/edge\.log ends here: ENOSPC: no space left/),
      ]);
    expect((await fetch(`${edge.url}/healthz`)).status).toBe(200);
    await edge.close();
  },
);
