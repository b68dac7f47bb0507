/** Every script of package.json, once as npm runs it, then as npm's shell does: `--help` and `--version` tell, and do nothing else. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VERSION } from "../../src/api/version.ts";
import { cleanClone } from "../support/clone.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const MANIFEST = JSON.parse(
  readFileSync(join(ROOT, "package.json"), "utf8"),
) as { version: string; scripts: Record<string, string> };
const SCRIPTS = Object.keys(MANIFEST.scripts);
/** They give what they do not know to a tool that judges it. */
const PASS_ON = ["deploy", "dev", "test"];

let folder: string;

/** Nothing is built in it, so what a script builds or writes shows. */
beforeAll(() => {
  folder = cleanClone();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function files(): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => !path.startsWith("node_modules/"))
    .toSorted();
}

function called(program: string, ...args: string[]) {
  const bin = join(folder, "node_modules/.bin");
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: folder,
    encoding: "utf8",
    env: {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      NO_COLOR: "1",
      NO_UPDATE_NOTIFIER: "1",
    },
  });
  return { status, stdout, stderr };
}

const npm = (script: string, ...args: string[]) =>
  called("npm", "run", "--silent", script, "--", ...args);

/** What npm does when it has started, which takes it as long as the script. */
const shell = (script: string, ...args: string[]) =>
  called("sh", "-c", `${MANIFEST.scripts[script]} "$@"`, "sh", ...args);

describe.each(SCRIPTS)("npm run %s", (script) => {
  test("-- --help shows help in 80 columns, and -h the same", () => {
    const before = files();
    const help = npm(script, "--help");
    const { status, stdout, stderr } = help;
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Usage: /m);
    expect(stdout).toContain("--help");
    const long = stdout.split("\n").filter((line) => line.length > 80);
    expect(long).toEqual([]);
    expect(shell(script, "-h")).toEqual(help);
    expect(files()).toEqual(before);
  });

  test("-- --version shows the package's version", () => {
    const before = files();
    expect(shell(script, "--version")).toEqual({
      status: 0,
      stdout: `${MANIFEST.version}\n`,
      stderr: "",
    });
    expect(files()).toEqual(before);
  });

  test.skipIf(PASS_ON.includes(script))(
    "-- --no-such-option is refused, and nothing is done",
    () => {
      const before = files();
      const { status, stdout, stderr } = shell(script, "--no-such-option");
      expect(status).not.toBe(0);
      expect(stdout).toBe("");
      expect(stderr).toContain("no-such-option");
      expect(stderr).toContain("Expected ");
      expect(files()).toEqual(before);
    },
  );
});

test.each(["quantize", "dequantize", "analyze"])(
  "mxfp4-edge %s --help fits into 80 columns",
  (command) => {
    const { status, stdout } = shell("mxfp4-edge", command, "--help");
    expect(status).toBe(0);
    expect(stdout).toContain(`Usage: mxfp4-edge ${command} [options] <file>`);
    const long = stdout.split("\n").filter((line) => line.length > 80);
    expect(long).toEqual([]);
  },
);

test("the version stands in package.json, and in the code", () => {
  expect(VERSION).toBe(MANIFEST.version);
});

test("a Node that is too old is told so in one line, and nothing is done", () => {
  const before = files();
  for (const [version, isRefused] of [
    ["20.20.2", true],
    ["22.17.1", true],
    ["23.5.0", true],
    ["22.18.0", false],
    ["23.6.0", false],
    ["24.0.0", false],
    ["26.1.0", false],
  ] as const) {
    const fake = `data:text/javascript,Object.defineProperty(process.versions,"node",{value:"${version}"})`;
    const check = join(folder, "src/scripts/node-version.js");
    const script = join(folder, "src/scripts/build.ts");
    const { status, stderr } = spawnSync(
      process.execPath,
      ["--import", fake, "--import", check, script, "--help"],
      { cwd: folder, encoding: "utf8" },
    );
    expect(status, version).toBe(isRefused ? 1 : 0);
    const refusal = `Expected Node 22.18 or later, got ${version}: `;
    expect(stderr.startsWith(refusal), version).toBe(isRefused);
    expect(stderr.split("\n").length).toBe(isRefused ? 2 : 1);
  }
  expect(files()).toEqual(before);
});

test("every script becomes node, which npm's signals then reach, and begins with that check", () => {
  for (const [name, command] of Object.entries(MANIFEST.scripts))
    expect(command, name).toMatch(
      /^exec node --import \.\/src\/scripts\/node-version\.js /,
    );
});
