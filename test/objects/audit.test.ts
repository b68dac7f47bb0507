/** What an audit says of runs that were changed afterwards, that go on, that ended early, and that went back. */
import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { auditAll, auditStep, probe } from "../../src/cli/audited-steps.ts";
import { compareRuns } from "../../src/cli/compared-runs.ts";
import { RecomputedRun } from "../../src/cli/recomputed-steps.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import {
  bindings,
  call,
  clientOf,
  finish,
  FINGERPRINT,
  ScriptedTrainer,
  startRun,
  worker,
} from "../support/run.ts";

afterEach(reset);

/** Changes what the run's object has on disk. */
async function change({ run }: RunClient, ...statements: string[]) {
  const stub = bindings.RUN.getByName(run);
  await runInDurableObject(stub, (_object, { storage }) => {
    for (const statement of statements) {
      const { rowsWritten } = storage.sql.exec(statement);
      expect(rowsWritten).toBeGreaterThan(0);
    }
  });
  await evictDurableObject(stub);
}

/** Another digest than `column` has. */
function flipped(column: string): string {
  return `${column} = CASE substr(${column}, 1, 1) WHEN '0' THEN '1' ELSE '0' END || substr(${column}, 2)`;
}

const MICROBATCH = "step = 3 AND kind = 'train' AND microbatch = 1";
const CHANGES: [what: string, statement: string][] = [
  [
    "an author",
    `UPDATE ballots SET author = 'owner.other' WHERE ${MICROBATCH}`,
  ],
  [
    "an author more",
    `INSERT INTO ballots SELECT kind, step, microbatch, 'x-1', loss_sum, tokens, bytes, digests, required, phases, counts, seed FROM ballots WHERE ${MICROBATCH}`,
  ],
  [
    "a gradient's digest",
    `UPDATE ballots SET ${flipped("digests")} WHERE ${MICROBATCH}`,
  ],
  [
    "a loss",
    `UPDATE ballots SET loss_sum = loss_sum * (1 + 1e-15) WHERE ${MICROBATCH}`,
  ],
  ["tokens", `UPDATE ballots SET tokens = tokens + 1 WHERE ${MICROBATCH}`],
  ["bytes", `UPDATE ballots SET bytes = bytes + 1 WHERE ${MICROBATCH}`],
  ["a microbatch that is gone", `DELETE FROM ballots WHERE ${MICROBATCH}`],
  ["a commit that is gone", "DELETE FROM commits WHERE step = 3"],
  ["results", `UPDATE commits SET ${flipped("results")} WHERE step = 3`],
  ["chain", `UPDATE commits SET ${flipped("chain")} WHERE step = 3`],
  [
    "norm",
    "UPDATE commits SET grad_norm = grad_norm * (1 + 1e-15) WHERE step = 3",
  ],
  [
    "clip",
    "UPDATE commits SET clip_coefficient = clip_coefficient / 2 WHERE step = 3",
  ],
  [
    "rates",
    "UPDATE commits SET learning_rates = json_set(learning_rates, '$.embedding', 0.5) WHERE step = 3",
  ],
  [
    "the rate in the metrics",
    "UPDATE commits SET learning_rate = 0.5 WHERE step = 3",
  ],
  [
    "the loss in the metrics",
    "UPDATE commits SET train_loss = 0.5 WHERE step = 3",
  ],
  [
    "the loss a byte in the metrics",
    "UPDATE commits SET train_nats_per_byte = 0.5 WHERE step = 3",
  ],
  [
    "the tokens in the metrics",
    "UPDATE commits SET tokens = tokens + 64 WHERE step = 3",
  ],
];

test("what was changed of a run afterwards is found where it was: each field of a step by its chain, the config at the start", async () => {
  const { run } = await startRun({ steps: 6, shards: 2 });
  await finish(run);
  const open = () => RecomputedRun.open(run);
  const tables = ["ballots", "commits", "run", "evaluations"];
  await change(
    run,
    ...tables.map(
      (each) => `CREATE TABLE was_${each} AS SELECT * FROM ${each}`,
    ),
  );
  const restore = () =>
    change(
      run,
      ...tables.flatMap((each) => [
        `DELETE FROM ${each}`,
        `INSERT INTO ${each} SELECT * FROM was_${each}`,
      ]),
    );
  expect(await probe(await open())).toMatchObject({ first: null });
  for (const [what, statement] of CHANGES) {
    await change(run, statement);
    const first = { what, ...(await (await open()).firstUnlinked()) };
    expect(first).toEqual({ what, step: 3, microbatches: [], chain: true });
    await restore();
  }
  // The whole audit says so without being told where to look, and knows that what was computed is true.
  await change(run, CHANGES[0]![1]);
  expect((await probe(await open())).first).toMatchObject({
    step: 3,
    chain: true,
  });
  expect((await auditStep(await open(), 2)).first).toBeNull();
  await restore();
  // Nor does it follow from what is computed.
  for (const column of [
    "clip_coefficient = 0.5",
    "grad_norm = grad_norm * (1 + 1e-15)",
    ...["matrix", "embedding", "vector"].map(
      (each) => `learning_rates = json_set(learning_rates, '$.${each}', 0.5)`,
    ),
  ]) {
    await change(run, `UPDATE commits SET ${column} WHERE step = 3`);
    expect({ column, ...(await auditStep(await open(), 3)).first }).toEqual({
      column,
      step: 3,
      microbatches: [],
      commit: true,
      chain: true,
    });
    await restore();
  }
  for (const [path, value] of [
    ["seed", 9],
    ["optimizer.learningRate", 0.5],
    ["steps", 7],
  ]) {
    await change(
      run,
      `UPDATE run SET config = json_set(config, '$.${path}', ${value})`,
    );
    expect((await probe(await open())).first).toMatchObject({
      step: 0,
      chain: true,
    });
    await restore();
  }
  // No digest holds an evaluation: it is computed.
  for (const column of ["loss", "nats_per_byte"]) {
    await change(
      run,
      `UPDATE evaluations SET ${column} = ${column} - 0.01 WHERE step = 2`,
    );
    const first = { step: 2, microbatches: [], evaluation: true };
    expect((await auditStep(await open(), 2)).first).toEqual(first);
    await restore();
  }
  expect(await auditAll(await open())).toMatchObject({ first: null });
  // A run that is told shorter than it is: the rest is not there to be looked at.
  await change(run, "UPDATE run SET step = 4");
  expect(await probe(await open())).toMatchObject({ last: 3, first: null });
  await expect(auditStep(await open(), 4)).rejects.toThrow(
    "Expected a step up to 3",
  );
});

test("a state that is kept and not what the steps before come to is told as such", async () => {
  const { run } = await startRun({ steps: 6 });
  await finish(run);
  expect((await RecomputedRun.open(run)).states).toEqual([0, 4]);
  const shard = bindings.PARAMETER_SHARD.getByName(`${run.run}/0`);
  await runInDurableObject(shard, (_object, { storage }) => {
    const of4 =
      "WHERE version = (SELECT version FROM states WHERE step = 4) AND part = 'parameters' AND row = 0";
    const { value } = storage.sql
      .exec<{ value: ArrayBuffer }>(`SELECT value FROM snapshots ${of4}`)
      .one();
    new Float32Array(value)[5] = 3;
    storage.sql.exec(`UPDATE snapshots SET value = ? ${of4}`, value);
  });
  await expect(probe(await RecomputedRun.open(run))).rejects.toThrow(
    "Expected the kept state of step 4 to follow from the steps from 0 on",
  );
  expect((await auditAll(await RecomputedRun.open(run))).first).toBeNull();
});

test("a run that goes on is not called false for what it came to meanwhile; one that goes back meanwhile is asked again", async () => {
  const { run } = await startRun({ steps: 8, evaluation: { interval: 1 } });
  /** By this trainer, until the run is at a step. */
  const reach = async (step: number, trainer = "one") => {
    const stop = new AbortController();
    const identity = { trainer, bootId: trainer, fingerprint: FINGERPRINT };
    await new RunTrainer(run, identity).train({
      signal: stop.signal,
      onCompleted: (lease) => {
        if (lease.step >= step) stop.abort();
      },
    });
    await run.leave(identity);
  };
  await reach(3);
  let at = 3;
  // Each thing that is asked for comes when the run has gone on since the one before.
  const slow = Object.assign(Object.create(run) as RunClient, {
    status: async () => {
      await reach(++at);
      return run.status();
    },
    metrics: async () => {
      await reach(++at);
      return run.metrics();
    },
    states: () => run.states(),
    step: (step: number) => run.step(step),
    tokens: (...given: Parameters<RunClient["tokens"]>) => run.tokens(...given),
    checkpoint: (...given: Parameters<RunClient["checkpoint"]>) =>
      run.checkpoint(...given),
  });
  expect(await auditAll(await RecomputedRun.open(slow))).toMatchObject({
    first: null,
  });
  // What was the present state as they were listed is none that is kept.
  expect(await probe(await RecomputedRun.open(slow))).toMatchObject({
    last: 5,
    first: null,
  });
  for (const state of ["paused", "running"] as const) {
    await run.setState(state);
    expect(await probe(await RecomputedRun.open(run))).toMatchObject({
      first: null,
    });
  }
  const before = await RecomputedRun.open(run);
  expect((await run.rewind(5)).step).toBe(4);
  await reach(6, "two");
  await expect(auditAll(before)).rejects.toThrow(
    "it was rewound to step 4 or before: repeat the audit",
  );
  expect(await probe(await RecomputedRun.open(run))).toMatchObject({
    last: 5,
    first: null,
  });
});

test("states that are gone since they were listed are no end of an audit: it goes on from those before", async () => {
  const { run } = await startRun({ steps: 8, snapshotSteps: 2 });
  await finish(run);
  const kept = await run.states();
  const listed = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  expect(listed.filter((step) => !kept.includes(step))).not.toEqual([]);
  const thinned = Object.assign(Object.create(run) as RunClient, {
    states: () => Promise.resolve(listed),
    status: () => run.status(),
    metrics: () => run.metrics(),
    step: (step: number) => run.step(step),
    tokens: (...given: Parameters<RunClient["tokens"]>) => run.tokens(...given),
    checkpoint: (...given: Parameters<RunClient["checkpoint"]>) =>
      run.checkpoint(...given),
  });
  const open = () => RecomputedRun.open(thinned);
  expect(await probe(await open())).toMatchObject({ last: 8, first: null });
  for (const step of [1, 3, 5, 7])
    expect(await auditStep(await open(), step)).toMatchObject({
      last: step,
      first: null,
    });
  await change(
    run,
    "UPDATE ballots SET loss_sum = loss_sum + 1 WHERE step >= 3 AND kind = 'train' AND microbatch = 1",
  );
  expect((await probe(await open())).first?.step).toBe(3);
});

test("of a run that diverged, the step that did is computed too: who lied is named, and where nobody did it is true", async () => {
  const { run, status } = await startRun({ steps: 6, gradientDtype: "f32" });
  const { token, id } = await run.joinToken();
  const liar = new ScriptedTrainer(
    clientOf(worker, token).run(run.run),
    status,
    "liar",
  );
  const stop = new AbortController();
  const one = new RunTrainer(run, {
    trainer: "one",
    bootId: "boot",
    fingerprint: FINGERPRINT,
  });
  await one.train({
    signal: stop.signal,
    onCompleted: ({ step }) => {
      if (step === 3) stop.abort();
    },
  });
  await run.leave({ trainer: "one", bootId: "boot" });
  expect((await liar.doLease(NaN)).state).toBe("running");
  await liar.run.leave(liar.identity);
  await finish(run);
  const told = await run.status();
  expect(told).toMatchObject({ state: "diverged", step: 3 });
  for (const audit of [probe, auditAll])
    expect(await audit(await RecomputedRun.open(run))).toMatchObject({
      last: 3,
      first: { step: 3, microbatches: [{ authors: [id] }] },
    });

  // By its own rate.
  const wild = await startRun({
    steps: 6,
    optimizer: { name: "adamw", learningRate: 1e6, warmupSteps: 0 },
  });
  await finish(wild.run);
  const { state, step } = await wild.run.status();
  expect(state).toBe("diverged");
  for (const audit of [probe, auditAll])
    expect(await audit(await RecomputedRun.open(wild.run))).toMatchObject({
      last: step,
      first: null,
    });
});

test.each(["cancelled", "paused"] as const)(
  "a run that is %s amid a step is audited up to it",
  async (state) => {
    const { run } = await startRun({ steps: 6 });
    const stop = new AbortController();
    await new RunTrainer(run, {
      trainer: "one",
      bootId: "boot",
      fingerprint: FINGERPRINT,
    }).train({
      signal: stop.signal,
      onCompleted: ({ step, index }) => {
        if (step === 3 && index === 1) stop.abort();
      },
    });
    await run.setState(state);
    expect((await run.step(3)).microbatches.length).toBeGreaterThan(0);
    for (const audit of [probe, auditAll])
      expect(await audit(await RecomputedRun.open(run))).toMatchObject({
        last: 2,
        first: null,
      });
    await expect(auditStep(await RecomputedRun.open(run), 3)).rejects.toThrow(
      "Expected a step up to 2",
    );
  },
);

test("a run that goes on from another is audited from where it began, of all its state or of parameters alone", async () => {
  const { run, status } = await startRun({ steps: 4 });
  const dataset = status.config.dataset.name;
  await finish(run);
  const goOn = async (state: "full" | "parameters", more: object) => {
    const answer = await run.checkpoint({ state, step: 2 });
    const folder = `state-${crypto.randomUUID()}`;
    const file = new Uint8Array(await answer.arrayBuffer());
    expect(
      (await call("PUT", `/v1/files/${folder}/model.safetensors`, file)).ok,
    ).toBe(true);
    const on = await startRun({ steps: 4, dataset, from: folder, ...more });
    return on.run;
  };
  for (const [on, first] of [
    [await goOn("full", { resume: true }), 2],
    [await goOn("full", { resume: true, seed: 5 }), 2],
    [await goOn("parameters", {}), 0],
  ] as const) {
    const open = () => RecomputedRun.open(on);
    for (const audit of [probe, auditAll])
      await expect(audit(await open())).rejects.toThrow(
        "Expected a run with a committed step, got one without",
      );
    if (first === 2)
      await expect(on.rewind(1)).rejects.toMatchObject({
        code: "step_gone",
        message: expect.stringContaining("Expected a step from 2 on") as string,
      });
    await finish(on);
    for (const audit of [probe, auditAll])
      expect(await audit(await open())).toMatchObject({ last: 4, first: null });
    await change(
      on,
      "UPDATE ballots SET author = 'owner.other' WHERE step = 3 AND kind = 'train' AND microbatch = 1",
    );
    expect((await probe(await open())).first).toMatchObject({
      step: 3,
      chain: true,
    });
    // What it goes on from, as the run tells it.
    await change(
      on,
      first === 2
        ? "UPDATE run SET config = json_set(config, '$.from.resumed.tokens', 1)"
        : "UPDATE run SET config = json_set(config, '$.from.digest', 'other')",
    );
    expect((await probe(await open())).first).toMatchObject({
      step: first,
      chain: true,
    });
    if (first === 2)
      await expect(compareRuns(on, run, 1)).rejects.toThrow(
        "Expected a step from 2 to 3, which both runs have committed, got 1",
      );
  }
  await expect(compareRuns(run, run, 4)).rejects.toThrow(
    "Expected a step from 0 to 3",
  );
});
