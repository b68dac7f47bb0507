/** What README prints first, as a stranger runs it: in a clone where nothing has been built. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
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

const env = () => ({ PATH: process.env.PATH, HOME: join(folder, ".home") });

/** `line` as pasted into a shell, which what is typed afterwards follows. */
function paste(line: string, typed = "") {
  const options = { cwd: folder, encoding: "utf8" as const, env: env() };
  const { status, stdout, stderr } = spawnSync("bash", ["-c", line], {
    ...options,
    input: typed,
  });
  return { line, status, stdout, stderr };
}

/** The lines of README's `sh` blocks behind "**N. ", with a model and steps that take seconds. */
function walk(part: number): string[] {
  const page = readFileSync(join(folder, "README.md"), "utf8");
  const text = page.split(`\n**${part}. `)[1]!.split(/\n(?:\*\*|## )/)[0]!;
  const blocks = text.matchAll(/^```sh\n([^]*?)^```$/gm);
  return [...blocks]
    .flatMap(([, block]) => block!.trim().split("\n"))
    .map((line) =>
      line
        .replace("runs/tiny-", "runs/nano-")
        .replace("--steps 200", "--steps 3"),
    );
}

test("what README's three minutes say is done as pasted: a model talks, is quantized, and two runs lie on one edge", async () => {
  const options = "--preset nano --steps 2 --sample-every 0";
  const trained = paste(`npm run train -- ${options}`);
  expect(trained.status, trained.stdout + trained.stderr).toBe(0);
  expect(trained.stdout).toMatch(
    /^done val_loss=\S+ val_nats_per_byte=\S+ steps=2 /m,
  );
  const talked = walk(1).map((line) => paste(line, "Call me\n"));
  const quantized = walk(2).map((line) => paste(line));
  const done = [...talked, ...quantized];
  expect(done.filter(({ status }) => status !== 0)).toEqual([]);
  expect(talked).toHaveLength(2);
  for (const { stdout } of talked) expect(stdout.length).toBeGreaterThan(300);
  expect(talked.at(-1)!.stdout).toContain("Call me");
  expect(quantized).toHaveLength(5);
  const { quantization_config } = JSON.parse(
    readFileSync(join(folder, "model-mxfp4/config.json"), "utf8"),
  ) as { quantization_config: { format: string } };
  expect(quantization_config.format).toBe("mxfp4-pack-quantized");
  expect(readFileSync(join(folder, "model.gguf")).subarray(0, 4)).toEqual(
    Buffer.from("GGUF"),
  );
  expect(quantized.at(-1)!.stdout).toContain("Call me");

  const edge = spawn("npm", ["start", "--", "--port", "0"], {
    cwd: folder,
    env: env(),
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    let said = "";
    edge.stdout.on("data", (part: Buffer) => (said += part.toString()));
    const place = /serves on (http:\S+),/;
    await expect
      .poll(() => place.exec(said), { timeout: 180_000 })
      .toBeTruthy();
    const url = place.exec(said)![1]!;
    const lines = walk(3);
    for (const line of lines) {
      const ran = paste(line.replace("http://127.0.0.1:8787", url));
      expect(ran, ran.stderr).toMatchObject({ status: 0 });
    }
    const { runs } = (await (await fetch(`${url}/v1/runs`)).json()) as {
      runs: { ended: boolean }[];
    };
    expect(runs).toHaveLength(lines.length);
    expect(runs.every(({ ended }) => ended)).toBe(true);
  } finally {
    const ended = once(edge, "exit");
    edge.kill("SIGTERM");
    await ended;
  }
}, 900_000);

test("npm run mxfp4-edge quantizes", () => {
  const { chunks } = writeSafetensors(
    [{ name: "x", shape: [32], dtype: "F32", chunks: [new Uint8Array(128)] }],
    new Map(),
  );
  writeFileSync(join(folder, "x"), Buffer.concat([...chunks]));
  const { status, stderr } = paste("npm run mxfp4-edge -- quantize x -o y");
  expect(status, stderr).toBe(0);
  expect(readFileSync(join(folder, "y")).toString()).toContain("x_blocks");
});
