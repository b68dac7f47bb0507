/** What README prints to deploy, from a clean clone, short of the upload; and `npm run dev`. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cleanClone } from "../support/clone.ts";

let folder: string;
let environment: NodeJS.ProcessEnv;

beforeAll(() => {
  folder = cleanClone();
  const home = join(folder, ".home");
  mkdirSync(home);
  environment = {
    PATH: process.env.PATH,
    HOME: home,
    XDG_CONFIG_HOME: join(home, "config"),
    npm_config_cache: join(home, "npm"),
    NO_UPDATE_NOTIFIER: "1",
    CI: "1",
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
  };
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("npm run deploy gives its arguments to wrangler, which refuses what it does not know", () => {
  const { status, stdout, stderr } = spawnSync(
    "npm",
    ["run", "deploy", "--", "--no-such-option"],
    { cwd: folder, encoding: "utf8", env: environment },
  );
  expect(status).toBe(1);
  expect(stdout + stderr).toContain("Unknown arguments: such-option");
  expect(existsSync(join(folder, "build/kernels.wasm"))).toBe(false);
});

test.each([
  ["npx wrangler deploy", "built kernels, kernels-decode, docs"],
  // What the first has compiled stands.
  ["npm run deploy --", "built docs"],
])("%s … bundles what a clean clone has", (command, built) => {
  const [program, ...args] = command.split(" ");
  const out = join(folder, program!);
  rmSync(join(folder, "public/docs"), { recursive: true, force: true });
  const { status, stdout, stderr } = spawnSync(
    program!,
    [...args, "--dry-run", "--outdir", out],
    { cwd: folder, encoding: "utf8", env: environment },
  );
  expect(status, stdout + stderr).toBe(0);
  expect(stdout).toContain(built);
  for (const binding of ["RUN", "PARAMETER_SHARD", "SUBTREE", "JOB", "BUCKET"])
    expect(stdout).toContain(`env.${binding} (`);

  // Small, with the way back to the sources, beside the kernels that were just compiled.
  const script = readFileSync(join(out, "worker.js"), "utf8");
  expect(script.split("\n").length).toBeLessThan(script.length / 500);
  const map = JSON.parse(readFileSync(join(out, "worker.js.map"), "utf8")) as {
    sources: string[];
  };
  expect(map.sources.some((path) => path.endsWith("src/worker.ts"))).toBe(true);
  for (const kernels of ["kernels.wasm", "kernels-decode.wasm"]) {
    const wasm = readdirSync(out).find((name) => name.endsWith(`-${kernels}`))!;
    expect(readFileSync(join(out, wasm))).toEqual(
      readFileSync(join(folder, "build", kernels)),
    );
  }
  const bundle = join(folder, "public/docs/swagger-ui-bundle.js");
  expect(statSync(bundle).size).toBeGreaterThan(1_000_000);
});

test("what the Worker's code takes for bound is what wrangler.toml binds", () => {
  const types = join(folder, "types.d.ts");
  const { status, stderr } = spawnSync(
    "npx",
    ["wrangler", "types", types, "--include-runtime", "false"],
    { cwd: folder, encoding: "utf8", env: environment },
  );
  expect(status, stderr).toBe(0);
  const members = (text: string, head: string, pattern: RegExp): string[] => {
    const [, body] = text.split(head);
    return Array.from(
      body!.split("\n}")[0]!.matchAll(pattern),
      ([, name]) => name!,
    ).sort();
  };
  const bound = members(
    readFileSync(types, "utf8"),
    "__BaseEnv_Env {",
    /^\s*(\w+): /gm,
  );
  const declared = (pattern: RegExp): string[] =>
    (
      [
        ["src/http/env.ts", "type Env = ObjectBindings & {"],
        ["src/objects/platform/bindings.ts", "type ObjectBindings = {"],
      ] as const
    ).flatMap(([file, head]) =>
      members(readFileSync(join(folder, file), "utf8"), head, pattern),
    );
  // What has a question mark is a secret, a variable that may be unset, or of a local edge.
  const needed = declared(/^ {2}(\w+): /gm);
  const known = declared(/^ {2}(\w+)\??: /gm);
  expect(needed.length).toBeGreaterThan(4);
  expect(bound).toEqual(expect.arrayContaining(needed));
  expect(known).toEqual(expect.arrayContaining(bound));
});

test("npm run dev serves the same Worker, closed without a token, and ends when told to", async () => {
  const port = await freePort();
  const dev = spawn("npm", ["run", "dev", "--", "--port", `${port}`], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  try {
    await new Promise<void>((ready) => {
      let said = "";
      dev.stdout!.on("data", (chunk) => {
        said += String(chunk);
        if (said.includes("Ready on")) ready();
      });
    });
    const origin = `http://127.0.0.1:${port}`;
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
    const closed = await fetch(`${origin}/v1/runs`);
    expect(closed.status).toBe(401);
    expect(await closed.text()).toContain("wrangler secret put API_TOKEN");
  } finally {
    process.kill(-dev.pid!, "SIGTERM");
    if (dev.exitCode === null) await once(dev, "exit");
  }
});

/** One that was free a moment ago: wrangler takes none of 0. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
