/**
 * The package as users get it: packed, installed elsewhere, and run by the system's own Node; in a
 * Worker; in a browser; and by the examples, against an edge. Bytes are those of the kernels here.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { Log, LogLevel, Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import { packPackage } from "../../src/scripts/build-package.ts";
import { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { answerOf, isBrowserExpected } from "../support/browser.ts";
import { normals } from "../support/random.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** What every host runs: a digest of each operation's answer. */
const PROBE = `
const values = Float32Array.from({ length: 96 * 64 }, (_, i) => ((i * 7919) % 1001) / 100 - 5);
const body = new Uint8Array(values.buffer);
const raw = { dtype: "f32", shape: [96, 64] };
const digest = async (response) => {
  const bytes = await response.arrayBuffer();
  const hash = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
};
export async function probe({ quantize, dequantize, hadamard, analyze, quantizeFloats, dequantizeFloats, readHead }) {
  const options = { rounding: "stochastic", hadamard: 64, seed: 3, raw };
  const packed = new Uint8Array(await (await quantize(body, options)).arrayBuffer());
  const stream = { stream: new Blob([packed]).stream(), bytes: packed.length };
  const refused = await quantize(body.slice(1), { raw }).catch((error) => error.code);
  return {
    packed: await digest(new Response(packed)),
    f32: await digest(await dequantize(packed)),
    f16: await digest(await dequantize(stream, { dtype: "f16" })),
    turned: await digest(await hadamard(new Blob([body]), { seed: 1, raw })),
    sqnrDb: (await analyze(body, { raw, compare: ["ocp", "paper"] })).total.schemes.map(({ sqnrDb }) => sqnrDb),
    floats: await digest(new Response(await dequantizeFloats(await quantizeFloats(values, { hadamard: 64, seed: 3, shape: [96, 64] })))),
    head: await readHead(packed),
    refused,
  };
}
`;

let folder: string;
let edge: Running;

/** As `npm i -g` installs it, in a prefix of the test's own; and linked, so that modules beside it find it too. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-package-test-"));
  const tarball = await packPackage();
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  writeFileSync(join(folder, "probe.js"), PROBE);
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund"];
  const prefix = ["--prefix", join(folder, "prefix")];
  mkdirSync(join(folder, "prefix/lib"), { recursive: true });
  run("npm", ["install", "--global", ...prefix, ...flags, tarball]);
  mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
  symlinkSync(command(), join(folder, "node_modules/.bin/mxfp4-edge"));
  symlinkSync(
    join(folder, "prefix/lib/node_modules/mxfp4-edge"),
    join(folder, "node_modules/mxfp4-edge"),
  );
  edge = await startEdge({ stateFolder: join(folder, "state"), quiet: true });
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A user's shell: it finds none of this repository's programs. */
function environment(): NodeJS.ProcessEnv {
  const path = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((each) => !each.includes("node_modules"))
    .join(delimiter);
  const { npm_lifecycle_script: _, ...env } = process.env;
  return { ...env, PATH: path, MXFP4_EDGE_URL: edge?.url, NO_COLOR: "1" };
}

function run(program: string, args: string[], input = ""): string {
  return execFileSync(program, args, {
    cwd: folder,
    encoding: "utf8",
    input,
    env: environment(),
    stdio: ["pipe", "pipe", "pipe"],
  });
}

function command(): string {
  return join(folder, "prefix/bin/mxfp4-edge");
}

/** As it lies in the installed package. */
function example(name: string): string {
  return join("node_modules/mxfp4-edge/examples", name);
}

function runModule(source: string): unknown {
  const args = ["--input-type=module", "--eval", source];
  return JSON.parse(run("node", args));
}

test("the library has no dependencies, nothing has install scripts, and the command's runtimes are pinned", () => {
  const installed = join(folder, "node_modules");
  const manifest = JSON.parse(
    readFileSync(join(installed, "mxfp4-edge/package.json"), "utf8"),
  ) as Record<string, unknown>;
  for (const key of Object.keys(manifest))
    expect(key).not.toMatch(/scripts|private/i);
  const { dependencies, optionalDependencies } = manifest;
  expect(Object.keys(dependencies!)).toEqual(["miniflare"]);
  for (const version of Object.values({
    ...dependencies!,
    ...optionalDependencies!,
  }))
    expect(version).toMatch(/^\d[\w.]*$/);
  expect(manifest.engines).toEqual({ node: ">=20.11" });
  const main = readFileSync(join(installed, "mxfp4-edge/dist/main.js"), "utf8");
  for (const elsewhere of ["cloudflare:", "node:", "miniflare"])
    expect(main).not.toContain(elsewhere);
  expect(main).not.toContain(ROOT);
});

const inNode = () =>
  runModule(`
    import * as library from "mxfp4-edge";
    import { probe } from "./probe.js";
    console.log(JSON.stringify(await probe(library)));
  `);

test("library and client agree, the one in the system's Node and the other by an edge", () => {
  const here = inNode();
  const there = runModule(`
    import { Mxfp4Edge } from "mxfp4-edge/client";
    import * as library from "mxfp4-edge";
    import { probe } from "./probe.js";
    const edge = new Mxfp4Edge({ baseUrl: process.env.MXFP4_EDGE_URL });
    const there = Object.fromEntries(
      ["quantize", "dequantize", "hadamard", "analyze"].map((name) => [name, edge[name].bind(edge)]),
    );
    console.log(JSON.stringify(await probe({ ...library, ...there })));
  `);
  expect(here).toMatchObject({ refused: "shape_mismatch" });
  expect(there).toEqual(here);
});

test("the library in a Worker has the same bytes", async () => {
  writeFileSync(
    join(folder, "worker.js"),
    `import * as library from "./node_modules/mxfp4-edge/dist/worker.js";
     import { probe } from "./probe.js";
     export default { fetch: async () => Response.json(await probe(library)) };`,
  );
  const manifest = JSON.parse(
    readFileSync(join(folder, "node_modules/mxfp4-edge/package.json"), "utf8"),
  ) as { exports: { ".": { workerd: string } } };
  expect(manifest.exports["."].workerd).toBe("./dist/worker.js");
  const miniflare = new Miniflare({
    modules: true,
    modulesRoot: folder,
    scriptPath: join(folder, "worker.js"),
    modulesRules: [
      { type: "ESModule", include: ["**/*.js"] },
      { type: "CompiledWasm", include: ["**/*.wasm"] },
    ],
    compatibilityDate: "2026-07-30",
    cf: false,
    telemetry: { enabled: false },
    log: new Log(LogLevel.NONE),
  });
  try {
    const answer = await miniflare.dispatchFetch("http://localhost/");
    expect(await answer.json()).toEqual(inNode());
  } finally {
    await miniflare.dispose();
  }
});

test.runIf(isBrowserExpected)(
  "the library in a browser has the same bytes",
  async () => {
    writeFileSync(
      join(folder, "page.html"),
      `<!doctype html><body><script type="module">
       import * as library from "/node_modules/mxfp4-edge/dist/main.js";
       import { probe } from "/probe.js";
       const answer = await probe(library).catch((error) => ({ error: String(error) }));
       await fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
       </script></body>`,
    );
    expect(JSON.parse(await answerOf(folder, "page.html"))).toEqual(inNode());
  },
);

test("declarations say what the code does", () => {
  writeFileSync(
    join(folder, "consumer.ts"),
    `import { analyze, AppError, dequantizeFloats, quantize, quantizeFloats, type QuantizeOptions, readHead } from "mxfp4-edge";
     import { Mxfp4Edge, type RunStatus } from "mxfp4-edge/client";
     const options: QuantizeOptions = { rounding: "stochastic", hadamard: 64 };
     export const answer: Promise<Response> = quantize(new Uint8Array(4), options);
     export const best = async (): Promise<string | null> => (await analyze(new Blob([]))).total.recommended;
     export const status = (edge: Mxfp4Edge): Promise<RunStatus> => edge.run("r").status();
     export const code = (error: AppError): string => error.code;
     export const floats = async (): Promise<Float32Array> =>
       dequantizeFloats(await quantizeFloats(new Float32Array(32), { preset: "paper" }));
     export const dtypes = async (): Promise<string[]> =>
       (await readHead(new DataView(new ArrayBuffer(8)))).tensors.map(({ dtype }) => dtype);
     void quantize(new ArrayBuffer(4), { preset: "ggml", include: ["*.weight"], raw: { dtype: "f32", shape: [1] } });
     // @ts-expect-error: no such option
     void quantize(new Uint8Array(4), { scael: "floor" });
     // @ts-expect-error: a path is no body
     void quantize("model.safetensors");
     // @ts-expect-error: no such rounding
     void quantize(new Uint8Array(4), { rounding: "up" });`,
  );
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  const flags =
    "--noEmit --strict --target es2022 --module nodenext --lib es2022,dom,dom.iterable,dom.asynciterable --types";
  const args = [tsc, ...flags.split(" "), "", "consumer.ts"];
  try {
    execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  } catch (error) {
    throw new Error((error as { stdout: string }).stdout, { cause: error });
  }
});

/** The code blocks of a page: each with its language, and the plain one behind it, which is its output. */
function blocksOf(
  page: string,
): { language: string; code: string; output: string }[] {
  const text = readFileSync(
    join(folder, "node_modules/mxfp4-edge", page),
    "utf8",
  );
  const blocks = [...text.matchAll(/^```(\w*)\n([^]*?)^```$/gm)];
  return blocks.flatMap(([, language, code], i) => {
    if (language === "") return [];
    const [, next, output] = blocks[i + 1] ?? [];
    return [
      { language: language!, code: code!, output: next === "" ? output! : "" },
    ];
  });
}

test("what README.md of the package prints is so", () => {
  const weight = new Uint8Array(normals(4096, 1).buffer);
  const name = "layer.weight";
  const { head } = writeHead(
    [{ name, dtype: "F32", shape: [64, 64] }],
    new Map(),
  );
  writeFileSync(
    join(folder, "model.safetensors"),
    Buffer.concat([head, weight]),
  );
  const blocks = blocksOf("README.md");
  expect(blocks.map(({ language }) => language)).toEqual([
    "js",
    "sh",
    "js",
    "js",
  ]);
  for (const [i, { language, code, output }] of blocks.entries()) {
    writeFileSync(join(folder, `readme-${i}.mjs`), code);
    const printed =
      language === "js"
        ? run("node", [`readme-${i}.mjs`])
        : run("sh", ["-e", "-c", code]);
    if (language === "js") expect(printed).toBe(output);
    else expect(printed).toContain("layer.weight [64, 64]");
  }
});

test("API.md has every function, and none but these", () => {
  const page = readFileSync(
    join(folder, "node_modules/mxfp4-edge/API.md"),
    "utf8",
  );
  const functions = [...page.matchAll(/^\| `(\w+)\(/gm)].map(
    ([, name]) => name,
  );
  const exported = runModule(
    'import * as library from "mxfp4-edge"; console.log(JSON.stringify(Object.keys(library)))',
  ) as string[];
  expect([...functions, "AppError"].toSorted()).toEqual(exported.toSorted());
});

test("the command tells its version, which is the package's", () => {
  const { version } = JSON.parse(
    readFileSync(join(ROOT, "package.json"), "utf8"),
  ) as { version: string };
  expect(run(command(), ["--version"])).toBe(`${version}\n`);
});

test("the command runs where the package is installed", () => {
  writeFileSync(join(folder, "x.raw"), new Uint8Array(4096));
  const raw = ["--dtype", "f32", "--shape", "32,32"];
  run(command(), ["quantize", "x.raw", ...raw, "-o", "x.safetensors"]);
  const table = run(command(), ["analyze", "x.raw", ...raw]);
  expect(table).toContain("x [32, 32]");
  run(command(), ["dequantize", "x.safetensors", "-o", "back.safetensors"]);
  const back = readFileSync(join(folder, "back.safetensors"));
  expect(back.subarray(-4096)).toEqual(Buffer.alloc(4096));
});

test("the command joins a run where the package is installed, by the Node that came along where the system's is too old", async () => {
  const client = new Client({ baseUrl: edge.url });
  await client.putDataset("corpus", new Blob(["to and fro ".repeat(400)]));
  const { run: id } = await client.createRun({
    dataset: "corpus",
    model: { layers: 1, width: 64, heads: 2, context: 64 },
    steps: 1,
    sequences: 1,
  });
  run(command(), ["join", edge.url, "--run", id, "--threads", "1"]);
  expect((await client.run(id).status()).state).toBe("finished");
});

test("it trains by a config's file, and generates, exports and compares", () => {
  writeFileSync(
    join(folder, "run.toml"),
    'preset = "nano"\ntokenizer = "byte"\nsteps = 9\nbatch = 2\nmicrobatches = 1\nname = "by-config"\n',
  );
  writeFileSync(join(folder, "text.txt"), "to and fro ".repeat(800));
  const more = [
    "--text",
    "text.txt",
    "--steps",
    "2",
    "--trainers",
    "1",
    "--sample-every",
    "0",
  ];
  const told = run(command(), [
    "train",
    "--config",
    "run.toml",
    "--json",
    ...more,
  ]);
  const events = told
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string });
  const kept = join(folder, ".mxfp4-edge/runs/by-config");
  expect(events.at(-1)).toMatchObject({
    type: "end",
    state: "finished",
    step: 2,
    checkpoint: join(
      realpathSync(folder),
      ".mxfp4-edge/runs/by-config/checkpoint.safetensors",
    ),
  });
  const text = ["--prompt", "Call", "--max-tokens", "8"];
  expect(
    run(command(), ["generate", join(kept, "checkpoint.safetensors"), ...text]),
  ).toMatch(/^Call/);
  expect(run(command(), ["runs", "export", kept]).split("\n").length).toBe(5);
  const own =
    "--recipes bf16,mxfp4 --preset nano --arch llama --steps 2 --batch 2 --microbatches 1 --seeds 1 --jobs 1 --text-bytes 4096 --json";
  const [setting] = JSON.parse(
    run(command(), ["ablation", ...own.split(" ")]),
  ) as [
    {
      base: { arch?: string };
      arms: { name: string; runs: { valLoss: number }[] }[];
    },
  ];
  expect(setting.base.arch).toBe("llama");
  expect(setting.arms.map(({ runs }) => runs[0]!.valLoss)).toEqual([
    expect.any(Number),
    expect.any(Number),
  ]);
});

test("it serves the API and its pages, and ends with the process that was called", async () => {
  const child = spawn(command(), ["serve", "--port", "0", "--json"], {
    cwd: folder,
    env: environment(),
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const { url } = JSON.parse(line.toString()) as { url: string };
    for (const path of [
      "/",
      "/play",
      "/docs",
      "/pages/dashboard.js",
      "/healthz",
    ])
      expect((await fetch(url + path)).status, path).toBe(200);
    child.kill("SIGKILL");
    await expect
      .poll(() =>
        fetch(url).then(
          () => true,
          () => false,
        ),
      )
      .toBe(false);
  } finally {
    child.kill("SIGTERM");
  }
});

test("the curl example runs", () => {
  expect(run("sh", [example("quantize.sh")])).toMatch(
    /^quantized: \d+ bytes\ndecoded: zeros again\njob: the same bytes\n$/,
  );
});

test("the Python example runs", () => {
  const output = run("python3", [example("quantize.py")]);
  expect(output.split("\n")).toMatchObject([
    "1024 bytes of f32 are 128 of elements and 8 of scales",
    "scale: rceil rounding: nearest-even",
    expect.stringMatching(/^largest error: 0\.\d{4}$/),
    expect.stringMatching(/^recommended: [\w-]+$/),
    "refused: Expected 1280 bytes for F32 [5, 64], got 1024",
    "",
  ]);
});

test("the JavaScript example runs", () => {
  const output = run("node", [example("quantize.mjs")]);
  const lines = output.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^\d+ bytes, the same here: true$/);
  expect(lines.at(-2)).toMatch(/^recommended: [\w-]+$/);
  expect(lines.at(-1)).toBe("refused: malformed_body");
});
