/** What pages of docs/ print is pasted into a shell: it works, makes what it names, and shows what they show. */
import {
  copyFileSync,
  globSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { resolve } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { JobStatus } from "../../src/api/tensors.ts";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { type Block, blocksOf, Clone } from "../support/pasted-page.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const TEXT = "Call me Ishmael. Some years ago, never mind how long. ".repeat(
  400,
);

/** What begins so is pasted by another test, or brought about there. */
const ELSEWHERE = {
  "npm ci": "deploy",
  "npx wrangler ": "deploy",
  "npm run deploy ": "deploy",
  "npm run pack": "package",
  "npm i -g ": "package",
  "npm run ablation ": "ablation",
  "npm run gradients": "gradients",
  "npm run cost": "bench",
  "npm run clean": "clean",
  "mxfp4-edge serve": "start",
};

const PAGES = [
  "docs/analyze.md",
  "docs/command.md",
  "docs/compatibility.md",
  "docs/datasets.md",
  "docs/generate.md",
  "docs/guides/compare-recipes.md",
  "docs/guides/deploy.md",
  "docs/guides/quantize-for-vllm.md",
  "docs/guides/train-on-my-text.md",
  "docs/guides/troubleshoot.md",
  "docs/jobs.md",
  "docs/llama.md",
  "docs/service.md",
  "docs/trust.md",
];

let clone: Clone;
let edge: Running;
let client: Mxfp4Edge;
/** A run that has ended, of a Llama, which `.mxfp4-edge/runs/NAME` keeps and `./model` is an export of. */
let ended: string;
let trained = 0;
/** What is in the clone before a page. */
let before: string[];

beforeAll(async () => {
  clone = new Clone();
  edge = await startEdge({ stateFolder: clone.at("state"), quiet: true });
  client = new Mxfp4Edge({ baseUrl: edge.url });
  await paste("npm run train -- --arch llama --preset nano --name NAME");
  ended = (await client.runs())[0]!.run;
  await paste("npm run mxfp4-edge -- export .mxfp4-edge/runs/NAME -o ./model");
  const toGguf = "quantize ./model -o model.gguf --for llama.cpp";
  await paste(`npm run mxfp4-edge -- ${toGguf}`);
  for (const name of ["my.txt", "other.txt", "mine.txt", "corpus.txt"])
    writeFileSync(clone.at(name), TEXT);
  await client.putDataset("corpus", Buffer.from(TEXT), {
    tokenizer: "bpe",
    vocabulary: 2048,
  });
  await client.readyDataset("corpus");
  for (const name of ["model.safetensors", "my model.safetensors"])
    copyFileSync(clone.at("model/model.safetensors"), clone.at(name));
  writeFileSync(clone.at("large.safetensors"), Buffer.alloc(12_000_000));
  symlinkSync(clone.at("model"), clone.at("Llama-directory"));
  save(
    blocksOf("docs/command.md").find(({ language }) => language === "toml")!,
  );
  before = readdirSync(clone.folder);
}, 180_000);

afterEach(() => {
  for (const name of readdirSync(clone.folder))
    if (!before.includes(name))
      rmSync(clone.at(name), { recursive: true, force: true });
});

afterAll(async () => {
  await edge?.close();
  rmSync(clone.folder, { recursive: true, force: true, maxRetries: 20 });
});

test("pages with something to paste are these, beside those of the package and README", () => {
  const found = globSync("docs/**/*.md", { cwd: ROOT })
    .map((page) => page.replaceAll("\\", "/"))
    .filter((page) => blocksOf(page).some(({ language }) => language === "sh"))
    .filter((page) => !page.startsWith("docs/package/"));
  expect(found.toSorted()).toEqual(PAGES);
});

test.each(PAGES)(
  "%s",
  async (page) => {
    const run = page === "docs/trust.md" ? await pausedRun() : undefined;
    for (const block of blocksOf(page)) {
      if (block.language === "toml") save(block);
      else if (block.language === "js") await runModule(block);
      else await pasteBlock(block, run);
    }
  },
  300_000,
);

/** A file by the name in the comment that it begins with. */
function save({ lines }: Block): void {
  const [, name] = /^# ([\w.]+)/.exec(lines[0]!)!;
  writeFileSync(clone.at(name!), lines.join("\n"));
}

/** As a module beside the sources, whose client the package's is built of. */
async function runModule({ lines }: Block): Promise<void> {
  const source = lines.join("\n").replace("mxfp4-edge/client", "./client.ts");
  writeFileSync(clone.at("src/client/pasted.ts"), filled(source, ""));
  const said = await paste(`"${process.execPath}" src/client/pasted.ts`);
  expect(said).toMatch(/\d/);
}

async function pasteBlock({ lines, shown }: Block, run?: string) {
  let said = "";
  for (const line of lines) {
    if (Object.keys(ELSEWHERE).some((begin) => line.startsWith(begin)))
      continue;
    said = await paste(line, run);
  }
  if (shown) expect(withoutTimes(said)).toContain(withoutTimes(shown));
}

const withoutTimes = (text: string) => text.replaceAll(/[\d.]+ s\b/g, "… s");

/** What it says, once what it has begun is over. */
async function paste(line: string, run = ended): Promise<string> {
  const typed = filled(small(line), run);
  const pasted = await clone.paste(
    typed,
    {
      url: edge.url,
      MXFP4_EDGE_URL: edge.url,
      MXFP4_EDGE_TOKEN: "any",
    },
    "Call me\n",
  );
  const { status, stdout, stderr } = pasted;
  expect(status, `${typed}\n${stdout}${stderr}`).toBe(0);
  expect(clone.missing(typed), typed).toEqual([]);
  if (/curl -d .*\/v1\/jobs"/.test(typed)) {
    const { job } = JSON.parse(stdout) as JobStatus;
    const end = await client.finishedJob(job);
    expect(end, typed).toMatchObject({ state: "finished", leftOut: [] });
  }
  if (typed.includes("curl -sS -T corpus")) await client.readyDataset("corpus");
  return stdout + stderr;
}

/** A training with a model and steps that take seconds, on the edge that is there, under a name of its own. */
function small(line: string): string {
  if (!/^(?:npm run train --|mxfp4-edge train) /.test(line)) return line;
  const options = [
    ["--steps", "2"],
    ["--sample-every", "0"],
    ["--trainers", "1"],
    ["--url", edge.url],
    ["--name", `pasted-${trained++}`],
    // Whoever begins with a model has its sizes.
    ...(line.includes("--from") ? [] : [["--preset", "nano"]]),
  ] as const;
  const command = line.replace(/\s+#.*$/, "");
  return options.reduce((typed, [name, value]) => {
    const told = new RegExp(`${name}[ =]\\S+`);
    if (!told.test(typed)) return `${typed} ${name} ${value}`;
    // Whose these are, the page says.
    return /--(?:url|name)/.test(name)
      ? typed
      : typed.replace(told, `${name} ${value}`);
  }, command);
}

/** What stands for something of the reader's. */
function filled(line: string, run: string): string {
  return (
    line
      .replaceAll("http://127.0.0.1:8787", edge.url)
      .replaceAll(/https:\/\/[\w.-]+\.example\b(?:\.workers\.dev)?/g, edge.url)
      .replaceAll(/\bRUN2?\b/g, run)
      // It is of fish, which is not everywhere.
      .replace(/(?<=completion fish \| )source/, "cat")
      .replaceAll(/--step S\b/g, "--step 1")
      .replaceAll(/--state FILE\b/g, "--state state.safetensors")
  );
}

/** A run that goes on, amid its steps, and its state in a file. */
async function pausedRun(): Promise<string> {
  const { run } = await client.createRun({
    dataset: "corpus",
    model: { layers: 1, width: 64, heads: 1, context: 64 },
    sequences: 1,
    snapshotSteps: 1,
  });
  const told = client.run(run);
  await told.addTrainers(1);
  await expect
    .poll(async () => (await told.status()).step, { timeout: 60_000 })
    .toBeGreaterThan(2);
  await told.setState("paused");
  const [, next] = await told.states();
  const state = await told.checkpoint({ state: "full", step: next });
  writeFileSync(
    clone.at("state.safetensors"),
    Buffer.from(await state.arrayBuffer()),
  );
  return run;
}
