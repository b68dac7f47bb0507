/** What README prints first, as a stranger runs it: in a clone where nothing has been built. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeSafetensors } from "../../src/formats/containers/safetensors.ts";
import { cleanClone } from "../support/clone.ts";

let folder: string;

beforeEach(() => {
  folder = cleanClone();
  mkdirSync(join(folder, ".home"));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function npmRun(...args: string[]) {
  return spawnSync("npm", ["run", ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: join(folder, ".home") },
  });
}

test("npm run train trains, and npm run sample writes with what it kept", () => {
  const options = ["--preset", "nano", "--steps", "2", "--sample-every", "0"];
  const trained = npmRun("train", "--", ...options);
  expect(trained.status, trained.stdout + trained.stderr).toBe(0);
  expect(trained.stdout).toMatch(
    /^done val_loss=\S+ val_nats_per_byte=\S+ steps=2 /m,
  );
  const sampled = npmRun(
    "sample",
    "--",
    "--prompt",
    "Call me",
    "--tokens",
    "8",
  );
  expect(sampled.status, sampled.stderr).toBe(0);
  expect(sampled.stdout).toContain("Call me");
});

test("npm run mxfp4-edge quantizes", () => {
  const { chunks } = writeSafetensors(
    [{ name: "x", shape: [32], dtype: "F32", chunks: [new Uint8Array(128)] }],
    new Map(),
  );
  writeFileSync(join(folder, "x"), Buffer.concat([...chunks]));
  const { status, stderr } = npmRun(
    "mxfp4-edge",
    "--",
    "quantize",
    "x",
    "-o",
    "y",
  );
  expect(status, stderr).toBe(0);
  expect(readFileSync(join(folder, "y")).toString()).toContain("x_blocks");
});
