/** Directories and files of names that people give, by the command to an edge and back, in tars, and from elsewhere. */
import { execFile, execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Mxfp4Edge } from "../../src/client/mxfp4-edge.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { writeModel } from "../support/model-directories.ts";
import { type RangeServer, startRangeServer } from "../support/range-server.ts";

const MAIN = join(import.meta.dirname, "../../src/cli/main.ts");
const MODEL = "моя модель №1 #2? 50% (копия)";

let folder: string;
let edge: Running;
let client: Mxfp4Edge;
let elsewhere: RangeServer;
const at = (...names: string[]) => join(folder, ...names);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-odd names-"));
  mkdirSync(at("served"));
  const model = at("served", MODEL);
  writeModel(model, "llama", 2);
  const index = join(model, "model.safetensors.index.json");
  let text = readFileSync(index, "utf8");
  for (const [old, odd] of [
    ["model-00001-of-00002.safetensors", "my model #1?.safetensors"],
    ["model-00002-of-00002.safetensors", "модель 50%2F.safetensors"],
  ] as const) {
    renameSync(join(model, old), join(model, odd));
    text = text.replaceAll(old, odd);
  }
  writeFileSync(index, text);
  mkdirSync(join(model, "sub folder/глубже"), { recursive: true });
  const long = `${"long ".repeat(40)}.txt`;
  for (const name of [`sub folder/${long}`, "sub folder/глубже/it's 'here'"])
    writeFileSync(join(model, name), name);
  edge = await startEdge({
    stateFolder: at("state"),
    quiet: true,
    sourceHosts: "127.0.0.1",
  });
  client = new Mxfp4Edge({ baseUrl: edge.url });
  elsewhere = await startRangeServer(at("served"));
});
afterAll(async () => {
  await edge?.close();
  await elsewhere?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Beside this process, which serves. */
function command(
  ...args: string[]
): Promise<{ status: number; stdout: string; stderr: string }> {
  const env = { ...process.env, NO_COLOR: "1", MXFP4_EDGE_URL: edge.url };
  return new Promise((ended) => {
    const child = execFile(
      process.execPath,
      [MAIN, ...args],
      { env },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : Number(error.code);
        ended({ status, stdout, stderr });
      },
    );
    child.stdin!.end();
  });
}

/** Of each file of a directory and of those in it. */
function bytesIn(path: string): Map<string, string> {
  const names = readdirSync(path, { recursive: true, encoding: "utf8" });
  return new Map(
    names
      .filter((name) => statSync(join(path, name)).isFile())
      .toSorted()
      .map((name) => [name, readFileSync(join(path, name), "base64")]),
  );
}

test("a directory goes to an edge with those in it, and comes back the same", async () => {
  const model = at("served", MODEL);
  const files = bytesIn(model);
  expect(await command("upload", model)).toMatchObject({ status: 0 });
  const listed = (await client.files({ prefix: `${MODEL}/` })).files;
  expect(listed.map(({ name }) => name).toSorted()).toEqual(
    [...files.keys()].map((name) => `${MODEL}/${name}`).toSorted(),
  );
  const again = await command("upload", model);
  expect(again.stderr + again.stdout).toContain(`${files.size} of them there`);
  const got = await command("download", MODEL, "-o", at("back again"));
  expect(got).toMatchObject({ status: 0 });
  expect(bytesIn(at("back again"))).toEqual(files);
  const [one] = [...files.keys()].filter((name) => name.includes("'"));
  const file = await command("download", `${MODEL}/${one}`, "-o", at("it's"));
  expect(file).toMatchObject({ status: 0 });
  expect(readFileSync(at("it's"), "utf8")).toBe(one);
});

test("the tar of a folder is unpacked by tar and by Python to the same files", async () => {
  const files = bytesIn(at("served", MODEL));
  const tar = await (await client.folder(MODEL)).bytes();
  writeFileSync(at("model.tar"), tar);
  const unpackers = {
    tar: ["tar", "-xf", at("model.tar"), "-C"],
    python: [
      "python3",
      "-c",
      "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])",
      at("model.tar"),
    ],
  };
  for (const [name, [program, ...args]] of Object.entries(unpackers)) {
    const to = at(`by ${name}`);
    mkdirSync(to);
    // Of no locale that a machine may have.
    const env = { ...process.env, LC_ALL: "C.UTF-8" };
    execFileSync(program!, [...args, to], { env });
    expect(bytesIn(join(to, MODEL)), name).toEqual(files);
  }
});

test("a directory is converted by an edge as it is here", async () => {
  const model = at("served", MODEL);
  const args = ["quantize", model, "--for", "vllm", "-o"];
  expect(await command(...args, at("made here"))).toMatchObject({ status: 0 });
  const there = await command(...args, at("made there"), "--url", edge.url);
  expect(there).toMatchObject({ status: 0 });
  expect(there.stderr).toContain("left out:");
  expect(there.stderr).toContain("sub folder/");
  const [here, far] = [bytesIn(at("made here")), bytesIn(at("made there"))];
  expect(far).toEqual(here);
  expect(readFileSync(at("made there/README.md"), "utf8")).toContain(
    `# ${MODEL} in MXFP4`,
  );
});

test("what there is nothing of is refused, and not done", async () => {
  mkdirSync(at("empty/in it"), { recursive: true });
  const before = await client.files({ limit: 1000 });
  for (const [args, told] of [
    [["upload", at("empty")], "with at least one file, got none in "],
    [["download", "no such", "-o", at("none")], 'of the edge, got "no such"'],
    // Standard input is empty here.
    [["generate", "no-such", "--url", edge.url], 'got "no-such"'],
    [["generate", "no such", "--folder"], 'of the edge, got "no such"'],
  ] as const) {
    const { status, stderr } = await command(...args);
    expect(stderr).toContain(told);
    expect(status).toBe(1);
  }
  expect(await client.files({ limit: 1000 })).toEqual(before);
});

test("a model elsewhere is inspected and converted, whatever its files are called", async () => {
  const url = `${elsewhere.url}/${encodeURIComponent(MODEL)}/`;
  const remote = await command("inspect", url, "--json");
  const here = await command("inspect", at("served", MODEL), "--json");
  expect(remote.stderr).toBe("");
  expect(JSON.parse(remote.stdout)).toEqual(JSON.parse(here.stdout));
  const { job, result } = await client.createJob({
    operation: "quantize",
    source: { url },
    result: "от туда/сюда",
    options: { for: "vllm" },
  });
  expect(await client.finishedJob(job)).toMatchObject({ error: null });
  const card = await client.file(`${result}/README.md`);
  expect(await card.text()).toContain(`# ${MODEL} in MXFP4`);
});

test("curl puts and gets as docs/jobs.md says, and saves a file under its name", () => {
  const page = readFileSync(
    join(import.meta.dirname, "../../docs/jobs.md"),
    "utf8",
  );
  const lines = page
    .split("\n")
    .filter((line) => line.startsWith("curl ") && line.includes("%20"));
  expect(lines.length).toBeGreaterThanOrEqual(2);
  mkdirSync(at("curl"));
  writeFileSync(at("curl/my model.safetensors"), "some bytes");
  for (const line of lines)
    execFileSync("sh", ["-ec", line], {
      cwd: at("curl"),
      env: { ...process.env, url: edge.url },
      stdio: "pipe",
    });
  const saved = readFileSync(at("curl/saved/my model.safetensors"), "utf8");
  expect(saved).toBe("some bytes");
});

test("what no edge takes is refused before anything is sent, and a name that was typed as a usage", async () => {
  const before = await client.files({ limit: 1000 });
  mkdirSync(at("two lines"));
  for (const name of ["a", "b\nc"]) writeFileSync(at("two lines", name), "");
  const lines = await command("upload", at("two lines"));
  expect(lines.stderr).toContain('got "two lines/b\\nc"');
  expect(lines.status).toBe(1);
  mkdirSync(at("round"));
  symlinkSync(at("round"), at("round/and round"));
  const round = await command("upload", at("round"));
  expect(round.stderr).toContain(
    "Expected no link from a directory to one that contains it",
  );
  expect(round.status).toBe(1);
  for (const args of [
    ["upload", at("two lines/a"), "--name", "x/../y"],
    ["upload", at("two lines/a"), "--name", "x/"],
    ["download", "../x", "-o", at("none")],
  ]) {
    const { status, stderr } = await command(...args);
    expect(stderr).toContain("parts between slashes are not empty, . or ..");
    expect(status).toBe(2);
  }
  expect(await client.files({ limit: 1000 })).toEqual(before);
  for (const name of ["..", "a/../b", "\ud800", ""])
    await expect(client.removeFile(name)).rejects.toMatchObject({
      code: "invalid_name",
    });
});

test("no edge writes beside the directory that a folder is downloaded to", async () => {
  const server = createServer((request, response) => {
    const files = ["f/ok", "f/../../../out/x"].map((name) => ({
      name,
      bytes: 1,
      storedMs: 0,
    }));
    const isList = request.url!.startsWith("/v1/files?");
    response.end(isList ? JSON.stringify({ files, next: null }) : "x");
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  try {
    const { port } = server.address() as AddressInfo;
    mkdirSync(at("a/b"), { recursive: true });
    const url = `http://127.0.0.1:${port}`;
    const { status, stderr } = await command(
      "download",
      "f",
      "-o",
      at("a/b/f"),
      "--url",
      url,
    );
    expect(stderr).toContain("Expected a file's name");
    expect(status).toBe(1);
    expect(readdirSync(at("a"))).toEqual(["b"]);
    expect(readdirSync(at())).not.toContain("out");
  } finally {
    server.close();
  }
});
