/** Outputs that are not whole yet: what a killed process leaves of one, and what comes in its way meanwhile. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeFolder } from "../../src/cli/directory-output.ts";
import { writeWhole } from "../../src/cli/files.ts";
import { withInput } from "../../src/cli/stdio.ts";

const CLI = resolve(import.meta.dirname, "../../src/cli");

let folder: string;
const at = (name: string) => join(folder, name);
const there = () => readdirSync(folder).toSorted();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-parts-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function* chunks(text = "whole"): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}
const fill = async (part: string, text = "whole"): Promise<void> => {
  await Promise.resolve();
  writeFileSync(join(part, "config.json"), text);
};

/** What writes to `out` and does not end; `kind` says how. */
async function hangs(kind: "file" | "folder") {
  const script = `
    import { writeFolder } from ${JSON.stringify(join(CLI, "directory-output.ts"))};
    import { writeWhole } from ${JSON.stringify(join(CLI, "files.ts"))};
    setInterval(() => {}, 1000);
    const never = () => { console.log("begun"); return new Promise(() => {}); };
    await (${kind === "file"} ? writeWhole("out", (async function* () { yield new Uint8Array(9); await never(); })())
      : writeFolder("out", false, never));`;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "--eval", script],
    { cwd: folder, stdio: ["ignore", "pipe", "inherit"] },
  );
  await once(child.stdout, "data");
  return child;
}
async function kill(child: Awaited<ReturnType<typeof hangs>>): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}
const write = (kind: "file" | "folder", name = "out", force = false) =>
  kind === "file"
    ? writeWhole(at(name), chunks())
    : writeFolder(at(name), force, fill);

test.each(["file", "folder"] as const)(
  "what a killed process has left of a %s goes with the next that writes there, and no other's",
  async (kind) => {
    const living = await hangs(kind);
    try {
      await kill(await hangs(kind));
      await kill(await hangs(kind));
      // The second has taken the first's along.
      expect(there().length).toBe(2);
      mkdirSync(at(".out.kept.1.part"));
      writeFileSync(at(".another.999999999.part"), "");
      writeFileSync(at(".out.1234567890123456.part"), "a download's");
      await write(kind);
      expect(there()).toEqual(
        [
          ".another.999999999.part",
          ".out.1234567890123456.part",
          `.out.${living.pid}.part`,
          ".out.kept.1.part",
          "out",
        ].toSorted(),
      );
    } finally {
      await kill(living);
    }
  },
);

test.each(["file", "folder"] as const)(
  "a part of a %s with this process's number is one before it's, as in a container that starts again",
  async (kind) => {
    if (kind === "folder") mkdirSync(at(`.out.${process.pid}.part`));
    else writeFileSync(at(`.out.${process.pid}.part`), "before");
    await write(kind);
    expect(there()).toEqual(["out"]);
  },
);

test.each(["file", "folder"] as const)(
  "a %s has a name as long as the file system takes",
  async (kind) => {
    for (const name of ["n".repeat(255), "ж".repeat(127)]) {
      await write(kind, name);
      expect(there()).toContain(name);
    }
    expect(there().length).toBe(2);
  },
);

test("what has come to the place meanwhile is kept", async () => {
  const late = async function* (): AsyncGenerator<Uint8Array> {
    yield* chunks();
    writeFileSync(at("out"), "theirs");
  };
  await expect(writeWhole(at("out"), late())).rejects.toThrow(
    /Expected no .*out, got one that was created/,
  );
  expect(readFileSync(at("out"), "utf8")).toBe("theirs");
  await expect(
    writeFolder(at("dir"), false, async (part) => {
      await fill(part);
      mkdirSync(at("dir"));
    }),
  ).rejects.toThrow(/Expected no .*dir, got one that was created/);
  expect(there()).toEqual(["dir", "out"]);
  // What was there as it began is replaced.
  await write("file");
  expect(readFileSync(at("out"), "utf8")).toBe("whole");
});

test("a folder that is replaced is there until the new one is whole, and nothing is left of it", async () => {
  mkdirSync(at("out"));
  writeFileSync(join(at("out"), "config.json"), "old");
  writeFileSync(join(at("out"), "more"), "old");
  // As one that was killed between the two names has it.
  mkdirSync(at(".out.999999999.old"));
  await writeFolder(at("out"), true, async (part) => {
    expect(readdirSync(at("out"))).toEqual(["config.json", "more"]);
    await fill(part);
  });
  expect(there()).toEqual(["out"]);
  expect(readdirSync(at("out"))).toEqual(["config.json"]);
});

test("a folder that is removed underneath is said by its name", async () => {
  const inner = join(folder, "inner");
  mkdirSync(inner);
  const told = writeFolder(join(inner, "out"), false, async (part) => {
    rmSync(inner, { recursive: true });
    await fill(part);
  });
  await expect(told).rejects.toThrow(
    `Expected a writable folder, got ${inner}`,
  );
});

test("what a killed process has kept of its stdin goes with the next", async () => {
  const stale = [
    "mxfp4-edge-stdin-999999999",
    ".mxfp4-edge-stdin-999999999.999999999.part",
  ].map((name) => join(tmpdir(), name));
  for (const path of stale) writeFileSync(path, "");
  const script = `
    import { withInput } from ${JSON.stringify(join(CLI, "stdio.ts"))};
    await withInput("-", () => Promise.resolve());`;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "--eval", script],
    { stdio: ["pipe", "inherit", "inherit"] },
  );
  child.stdin.end("some");
  expect(await once(child, "exit")).toEqual([0, null]);
  expect(stale.filter((path) => existsSync(path))).toEqual([]);
  expect(await withInput("a file", (path) => Promise.resolve(path))).toBe(
    "a file",
  );
});
