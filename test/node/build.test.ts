/** `npm run build` on a copy of this tree: what is built again, and what else it does, which is nothing. */
import { execFile, execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { builtWorker } from "../../src/local/built-worker.ts";
import { cleanClone } from "../support/clone.ts";

const ROOT = resolve(import.meta.dirname, "../..");
/** Those that a change of a file can concern here; the others are the same twice and thrice. */
const NAMES = ["kernels", "docs", "worker"];
const NOTHING = "everything is up to date\n";

let folder: string;

/** What the first build said, in a terminal and with an empty home folder. */
let said: string;
let home: string;

beforeAll(async () => {
  folder = cleanClone();
  home = join(folder, "home");
  mkdirSync(home);
  said = await buildInTerminal();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function build(...names: string[]): string {
  const script = join(folder, "src/scripts/build.ts");
  const args = [script, ...(names.length > 0 ? names : NAMES)];
  return execFileSync(process.execPath, args, { encoding: "utf8" });
}

const PTY = `
import os, pty, sys
output = b""
def read(fd):
    global output
    data = os.read(fd, 1024)
    output += data
    return data
status = pty.spawn(sys.argv[1:], read, lambda fd: b"")
sys.exit(os.waitstatus_to_exitcode(status))
`;

/** Nobody answers what it would ask. */
async function buildInTerminal(): Promise<string> {
  const script = join(folder, "src/scripts/build.ts");
  const call = ["-c", PTY, process.execPath, script, ...NAMES];
  const building = promisify(execFile)("python3", call, {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: home, TERM: "xterm" },
  });
  building.child.stdin!.end();
  return (await building).stdout;
}

function output(path: string): Buffer {
  return readFileSync(join(folder, path));
}

test.each(["kernels", "kernels-decode"])("%s has at most 64 KiB", (name) => {
  expect(output(`build/${name}.wasm`).length).toBeLessThanOrEqual(64 * 1024);
});

test("in a terminal, it asks nothing and writes nothing into the home folder", () => {
  expect(said).toBe("built kernels, docs, kernels-decode, worker\r\n");
  expect(readdirSync(home)).toEqual([]);
});

test("two builds at once, in terminals and without a home folder, end in the bytes of one", async () => {
  const files = ["build/kernels.wasm", "build/worker/worker.js"];
  const before = files.map(output);
  rmSync(join(folder, "build"), { recursive: true });
  rmSync(home, { recursive: true });
  writeFileSync(home, "");
  const both = await Promise.all([buildInTerminal(), buildInTerminal()]);
  for (const each of both)
    expect(each).toMatch(/^(built .*|all is built .*)\r\n$/);
  expect(files.map(output)).toEqual(before);
  expect(readdirSync(join(folder, "build/tmp"))).toEqual([]);
  expect(readFileSync(home, "utf8")).toBe("");
  expect(build()).toBe(NOTHING);
});

describe("what is built again", () => {
  test("nothing, though every file looks new", () => {
    const now = new Date();
    for (const path of readdirSync(join(folder, "assembly"), {
      recursive: true,
      encoding: "utf8",
    }))
      utimesSync(join(folder, "assembly", path), now, now);
    utimesSync(join(folder, "src/worker.ts"), now, now);
    expect(build()).toBe(NOTHING);
  });

  test("nothing, where the tree was moved", () => {
    const moved = `${folder}-moved`;
    renameSync(folder, moved);
    folder = moved;
    expect(build()).toBe(NOTHING);
  });

  test("the kernels, and not the Worker, for a comment in a kernel", () => {
    appendFileSync(join(folder, "assembly/index.ts"), "\n// a comment\n");
    expect(build()).toBe("built kernels\n");
    expect(build()).toBe(NOTHING);
  });

  test("kernels and Worker for another kernel", () => {
    const before = output("build/worker/kernels.wasm");
    appendFileSync(
      join(folder, "assembly/index.ts"),
      "\nexport function answer(): i32 {\n  return 42;\n}\n",
    );
    expect(build()).toBe("built kernels, worker\n");
    expect(output("build/worker/kernels.wasm")).not.toEqual(before);
    expect(output("build/worker/kernels.wasm")).toEqual(
      output("build/kernels.wasm"),
    );
  });

  test("the Worker for what it imports, and nothing for what it does not", () => {
    appendFileSync(join(folder, "src/cli/main.ts"), "\n// a comment\n");
    expect(build()).toBe(NOTHING);
    appendFileSync(
      join(folder, "src/http/app.ts"),
      '\nconsole.log("another app");\n',
    );
    expect(build()).toBe("built worker\n");
    expect(output("build/worker/worker.js").toString()).toContain(
      'console.log("another app")',
    );
  });

  test("what was lost or spoilt", () => {
    const worker = output("build/worker/worker.js");
    writeFileSync(join(folder, "build/worker/worker.js"), "spoilt");
    rmSync(join(folder, "public/docs/swagger-ui.css"));
    expect(build()).toBe("built docs, worker\n");
    expect(output("build/worker/worker.js")).toEqual(worker);
    expect(build()).toBe(NOTHING);
  });

  test("what failed, until it no longer does", () => {
    const file = join(folder, "src/http/app.ts");
    const source = readFileSync(file);
    appendFileSync(file, '\nimport "./nowhere.ts";\n');
    expect(() => build()).toThrow("nowhere.ts");
    writeFileSync(file, source);
    expect(build()).toBe(NOTHING);

    const kernel = join(folder, "assembly/index.ts");
    const kernels = readFileSync(kernel);
    appendFileSync(kernel, "\nexport function wrong(): i32 { return x; }\n");
    expect(() => build()).toThrow("Cannot find name 'x'");
    writeFileSync(kernel, kernels);
    expect(build()).toBe(NOTHING);
  });
});

test("an unknown name is refused, and nothing is built", () => {
  expect(() => build("kernels", "nothing")).toThrow(
    "Expected one of kernels, kernels-decode, kernels-debug, kernels-files, docs, pages, worker, got nothing",
  );
});

describe("a wrangler.toml", () => {
  test.each([
    ["wrangler.toml", "build/worker"],
    ["bench/wrangler.toml", "build/bench/wrangler"],
    ["bench/http.wrangler.toml", "build/bench/http.wrangler"],
  ])("%s binds here what it binds for wrangler", (config, out) => {
    const at = join(folder, out);
    mkdirSync(at, { recursive: true });
    const script =
      config === "bench/http.wrangler.toml" ? "http-worker" : "worker";
    const files = [`${script}.js`, "kernels.wasm", `${script}.js.map`];
    for (const file of files) writeFileSync(join(at, file), "");
    const { name, modules, modulesRoot, ...bound } = builtWorker(
      join(ROOT, config),
      at,
    );
    expect(modulesRoot).toBe(at);
    const [entry, ...others] = modules;
    const path = (file: string): string => join(at, file);
    expect(entry).toEqual({ type: "ESModule", path: path(files[0]!) });
    const kernels = { type: "CompiledWasm", path: path("kernels.wasm") };
    expect(others).toContainEqual(kernels);
    expect(new Set(others.map(({ type }) => type)).size).toBe(1);
    expect(name).toMatch(/^mxfp4-edge/);
    const { workerOptions } = unstable_getMiniflareWorkerOptions(
      join(ROOT, config),
    );
    const bindsSomething = Object.entries(workerOptions).filter(
      ([key, value]) =>
        key in bound ||
        (Object.keys(value ?? {}).length > 0 &&
          !["modulesRules", "email"].includes(key)),
    );
    expect(bound).toEqual(Object.fromEntries(bindsSomething));
  });

  test("with a key that nothing is known of is refused", () => {
    const config = join(folder, "wrangler.toml");
    appendFileSync(config, '\n[[queues.producers]]\nbinding = "Q"\n');
    expect(() => builtWorker(config, join(folder, "build/worker"))).toThrow(
      "that the local edge knows, got queues",
    );
  });
});
