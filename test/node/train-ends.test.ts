/** `npm run train` that meets what is there already, or ends before its run does: what stays, and what goes on. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { linkFree } from "../../src/cli/train/save-checkpoint.ts";
import { Client } from "../../src/client/client.ts";
import { startEdge } from "../../src/local/edge.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import {
  metricsIn,
  PATIENCE_MS,
  SMALL,
  type Training,
  TrainingPlace,
  UNSAMPLED,
} from "../support/train-command.ts";

let place: TrainingPlace;
beforeEach(() => {
  place = new TrainingPlace();
});
afterEach(() => place.end());

describe("what is there already", () => {
  test("goes only by --force, which says so", async () => {
    const metrics = join(place.folder, "model.metrics.jsonl");
    writeFileSync(place.out, "a checkpoint of days");
    writeFileSync(metrics, "its metrics");
    const args = [
      "--text",
      place.text,
      "--out",
      place.out,
      "--steps",
      "1",
      ...SMALL,
    ];
    const refused = await place.train(...args).ended;
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      `Expected --out ${place.out} to be new, but ${place.out} exists; --force overwrites it`,
    );
    expect(readFileSync(place.out, "utf8")).toBe("a checkpoint of days");
    expect(readFileSync(metrics, "utf8")).toBe("its metrics");

    const forced = await place.train(...args, "--force").ended;
    expect(forced.code).toBe(0);
    expect(forced.stderr).toBe(
      `overwrites ${place.out}\noverwrites ${metrics}\n`,
    );
    expect(readCheckpoint(readFileSync(place.out)).step).toBe(1);
    expect(metricsIn(metrics).length).toBe(2);
  });

  test("keeps its name: a file that comes later has the next one", async () => {
    const from = join(place.folder, "partial");
    writeFileSync(from, "new");
    for (const name of ["x.y", "x-2.y"])
      writeFileSync(join(place.folder, name), name);
    expect(await linkFree(from, join(place.folder, "x.y"))).toBe(
      join(place.folder, "x-3.y"),
    );
    const there = ["x.y", "x-2.y", "x-3.y"].map((name) =>
      readFileSync(join(place.folder, name), "utf8"),
    );
    expect(there).toEqual(["x.y", "x-2.y", "new"]);
  });

  test("goes on after SIGKILL of all, by the same command or --resume, to the bytes of a run that was not killed", async () => {
    const steps = [
      "--text",
      place.text,
      "--steps",
      "40",
      ...SMALL,
      ...UNSAMPLED,
    ];
    const whole = await place.train(...steps, "--name", "whole").ended;
    expect(whole.code).toBe(0);
    const kept = (name: string, file: string) =>
      readFileSync(join(place.folder, "state/runs", name, file));
    const killed = async (run: Training) => {
      await run.said("step 1");
      run.child.kill("SIGKILL");
      await run.ended;
      await expect
        .poll(() => place.runtimes(), { timeout: PATIENCE_MS })
        .toEqual([]);
    };
    await killed(place.train(...steps, "--name", "killed"));
    const again = place.train(
      ...steps,
      "--name",
      "killed",
      "--trainers",
      "1",
      "--force",
    );
    await again.said("continues the interrupted run at step");
    await killed(again);
    const { code, stdout, stderr } = await place.train("--resume", ...UNSAMPLED)
      .ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("continues the interrupted run at step");
    const file = "checkpoint.safetensors";
    expect(kept("killed", file).equals(kept("whole", file))).toBe(true);
    const lines = (name: string) =>
      metricsIn(join(place.folder, "state/runs", name, "metrics.jsonl")).map(
        // When it was, how long it took, and who told it, may be others'.
        (line) => ({ ...line, committedMs: 0, chain: "", phases: null }),
      );
    expect(lines("killed")).toEqual(lines("whole"));
    expect((await place.train("--resume").ended).stderr).toContain(
      "Expected --resume with an interrupted run",
    );
  });

  test("goes on after SIGKILL of the older Node that ran it, which tells it nothing", async () => {
    const typed = ["--text", place.text, "--steps", "30", ...SMALL];
    typed.push(...UNSAMPLED, "--name", "orphan");
    const orphan = place.trainByCaller(...typed);
    await orphan.said("step 1");
    orphan.child.kill("SIGKILL");
    const { stdout, stderr } = await orphan.ended;
    expect(stdout + stderr).not.toContain("cancel");
    expect(place.runtimes()).toEqual([]);
    const again = await place.train(...typed).ended;
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(again.stdout).toContain("continues the interrupted run at step");
  });

  test("as the state of a run that was killed is kept, and can be served", async () => {
    const killed = place.trainForHours();
    await killed.said("step 0");
    const metrics = join(place.folder, "model.metrics.jsonl");
    await expect
      .poll(() => metricsIn(metrics).length, { timeout: PATIENCE_MS })
      .toBeGreaterThan(2);
    expect(place.runtimes().length).toBe(3);
    killed.child.kill("SIGKILL");
    await killed.ended;
    await expect
      .poll(() => place.runtimes(), { timeout: PATIENCE_MS })
      .toEqual([]);

    const next = [
      "--text",
      place.text,
      "--name",
      "next",
      "--steps",
      "1",
      ...SMALL,
    ];
    const { code, stderr } = await place.train(...next).ended;
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^the previous run ended without a checkpoint: its state is kept in \S+\/unfinished, and `npm start -- --state \S+` serves it\n$/,
    );
    const stateFolder = join(place.folder, "state/runs/unfinished");
    const edge = await startEdge({ stateFolder, quiet: true });
    try {
      const client = new Client({ baseUrl: edge.url });
      const [run] = await client.runs();
      const answer = await client.run(run!.run).checkpoint();
      const file = new Uint8Array(await answer.arrayBuffer());
      expect(readCheckpoint(file).step).toBeGreaterThan(2);
    } finally {
      await edge.close();
    }
    // Of a run that ended, its checkpoint is what is kept.
    const last = await place.train(...next, "--force", "--steps", "1").ended;
    expect(last.stderr).not.toContain("without a checkpoint");
    expect(readdirSync(join(place.folder, "state/runs")).toSorted()).toEqual([
      "next",
      "unfinished",
    ]);
  });
});

describe("an early end", () => {
  test("as a gradient is not finite keeps the parameters, and says what may help", async () => {
    const rate = ["--optimizer", "adamw", "--learning-rate", "1e6"];
    const run = place.train(
      "--text",
      place.text,
      "--name",
      "far",
      ...SMALL,
      ...rate,
    );
    const { code, stdout } = await run.ended;
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^diverged at step \d+; its parameters are in (\S+\.safetensors)\na gradient was not finite: a lower --learning-rate or --matrix-learning-rate, or a recipe that rounds less$/m,
    );
    const [, file] = /its parameters are in (\S+)/.exec(stdout)!;
    expect(existsSync(file!)).toBe(true);
    expect(place.runtimes()).toEqual([]);
  });

  test("by SIGTERM, amid samples, cancels the run, and keeps its metrics and its parameters, overwriting nothing", async () => {
    const run = place.trainForHours("--sample-every", "3");
    const metrics = join(place.folder, "model.metrics.jsonl");
    await run.said('  "The ');
    writeFileSync(place.out, "came while it trained");
    run.child.kill("SIGTERM");
    const { code, stdout, stderr } = await run.ended;
    expect(code).toBe(130);
    expect(stdout).toMatch(/^step [1-9]\d* {2}"The /m);
    const [, step] =
      /cancelled at step (\d+); its parameters are in \S*model-2\.safetensors/.exec(
        stdout,
      )!;
    expect(stderr).toContain(
      `Expected ${place.out} to be new, but it was created`,
    );
    expect(readFileSync(place.out, "utf8")).toBe("came while it trained");
    const saved = readFileSync(join(place.folder, "model-2.safetensors"));
    expect(readCheckpoint(saved).step).toBe(Number(step));
    const steps = metricsIn(metrics).map((line) => line.step);
    expect(steps).toEqual(steps.map((_, index) => index));
    expect(steps.length).toBeGreaterThanOrEqual(Number(step));
    expect(readdirSync(place.folder).toSorted()).toEqual([
      "model-2.safetensors",
      "model.metrics.jsonl",
      "model.safetensors",
      "my text.txt",
      "state",
    ]);
    expect(place.runtimes()).toEqual([]);
  });

  test.each([
    ["Ctrl-C in a terminal", "SIGINT"],
    ["timeout", "SIGTERM"],
  ] as const)(
    "by %s, which reaches the runtimes too, does the same, by those",
    async (_, signal) => {
      const run = place.trainForHours();
      await run.said("step 0");
      process.kill(-run.child.pid!, signal);
      const { code, stdout, stderr } = await run.ended;
      expect(stdout).toMatch(/cancelled at step \d+; its parameters are in /);
      expect(stderr).toBe("cancelling; Ctrl-C again to end at once\n");
      expect(code).toBe(130);
      expect(existsSync(place.out)).toBe(true);
      expect(place.runtimes()).toEqual([]);
    },
  );

  test("by Ctrl-C, ends with a command that goes on from there, of a text whose name a shell would cut", async () => {
    const run = place.trainForHours();
    await run.said("step 0");
    process.kill(-run.child.pid!, "SIGINT");
    const { stdout } = await run.ended;
    const [, step, typed] =
      /cancelled at step (\d+);.*\n`npm run train -- (.+)` continues from there/.exec(
        stdout,
      )!;
    const words = execFileSync("sh", ["-c", `printf '%s\\n' ${typed}`], {
      encoding: "utf8",
    });
    const further = ["--steps", String(Number(step) + 1), "--name", "further"];
    const gone = await place.train(
      ...words.trimEnd().split("\n"),
      ...further,
      ...UNSAMPLED,
    ).ended;
    expect(gone).toMatchObject({ code: 0, stderr: "" });
    const kept = join(
      place.folder,
      "state/runs/further/checkpoint.safetensors",
    );
    expect(readCheckpoint(readFileSync(kept)).step).toBe(Number(step) + 1);
  });
});
