/** What is told while the shards of a step that is due are asked for their norms, and while they apply its update. */
import { reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { jsonDigest } from "../../src/api/digest.ts";
import type { StepRecord } from "../../src/api/run-metrics.ts";
import { RunControl } from "../../src/objects/run/run-control.ts";
import { heldShards } from "../support/held-shards.ts";
import {
  bindings,
  keyOf,
  type ScriptedTrainer,
  startScripted,
} from "../support/run.ts";

afterEach(reset);

const TRUE = 0.5;
const FALSE = 77;

/** What pushes a gradient of a run, and tells of it. */
async function telling(
  trainer: ScriptedTrainer & { token: string },
  value: number,
) {
  const leased = { kind: "train", step: 0, index: 0 } as const;
  const caller = trainer.token.split(".")[2]!;
  const { trainer: name, bootId } = trainer.identity;
  const key = await keyOf(trainer.run.run, leased, name, caller);
  const digests = await trainer.digests(leased, value);
  const told = { trainer: name, bootId, lossSum: 64, tokens: 64, digests };
  return {
    id: caller,
    push: () => trainer.pushFor({ ...leased, key, deadlineMs: 0 }, value),
    tell: (control: RunControl) =>
      control.desk.complete(caller, "train", 0, 0, told, key),
  };
}

/** That the step's chain follows from its record, as docs/trust.md says. */
async function expectChain({ microbatches, commit }: StepRecord) {
  const { before, results, chain } = commit!;
  const told = microbatches.map(({ digests, authors }) => [digests, authors]);
  expect(await jsonDigest([before.chain, results, told])).toBe(chain);
}

/**
 * A run of one step of one microbatch, of which a first author tells, which has pushed `first` if that is told; `amid`
 * happens while its norms are asked for, or where `held` is its update, while that is applied.
 */
async function committing(
  first: number | undefined,
  amid: (
    control: RunControl,
    told: Awaited<ReturnType<typeof telling>>[],
  ) => Promise<unknown>,
  held: "prepare" | "apply" = "prepare",
): Promise<{ owner: ScriptedTrainer; ids: string[] }> {
  const owner = await startScripted({ steps: 1, microbatches: 1 });
  const [one, other] = [await owner.stranger("a"), await owner.stranger("b")];
  for (const { run, identity } of [one, other]) await run.lease(identity);
  // All but the training microbatch, so that it is what ends the step.
  for (const index of [0, 1]) {
    const evaluated = { kind: "eval", step: 0, index } as const;
    const key = await keyOf(owner.run.run, evaluated);
    await owner.run.lease(owner.identity);
    await owner.complete({ ...evaluated, key, deadlineMs: 0 });
  }
  const told = [await telling(one, first ?? TRUE), await telling(other, TRUE)];
  if (first !== undefined) await told[0]!.push();
  await runInDurableObject(
    bindings.RUN.getByName(owner.run.run),
    async (_object, { storage }) => {
      const { env, asked, letGo } = heldShards(held);
      const control = new RunControl(storage, env);
      const ended = told[0]!.tell(control);
      await Promise.race([asked, ended]);
      if (held === "prepare") await told[1]!.push();
      const happened = amid(control, told);
      // It has done what it does at once; the rest waits for the commit.
      await new Promise((resolve) => setTimeout(resolve, 50));
      letGo();
      await Promise.all([happened, ended.catch(() => {})]);
    },
  );
  return { owner, ids: told.map(({ id }) => id) };
}

test("a second author that tells the same stands in the step's chain too", async () => {
  const { owner, ids } = await committing(TRUE, (control, [, other]) =>
    other!.tell(control),
  );
  const record = await owner.run.step(0);
  expect(record.microbatches[0]!.authors).toEqual(ids.toSorted());
  await expectChain(record);
});

test("where the author is revoked and another tells otherwise, norm and update are those of the other", async () => {
  const { owner, ids } = await committing(
    FALSE,
    async (control, [one, other]) => {
      const revoked = control.tokens.setState(one!.id, "revoked");
      await Promise.all([revoked, other!.tell(control)]);
    },
  );
  const record = await owner.run.step(0);
  expect(record.microbatches.map(({ authors }) => authors)).toEqual([[ids[1]]]);
  const root = Math.sqrt(owner.status.parameters);
  expect(record.commit!.gradNorm).toBeLessThanOrEqual(TRUE * root);
  await expectChain(record);
});

test("who tells of a push that it made after the shards were asked is not blamed for one who told of it before", async () => {
  const { owner, ids } = await committing(undefined, (control, [, other]) =>
    other!.tell(control),
  );
  const states = await owner.run.joinTokens();
  expect(states.map(({ id, state }) => [id, state])).toEqual([
    [ids[0], "quarantined"],
    [ids[1], "active"],
  ]);
  const record = await owner.run.step(0);
  expect(record.microbatches.map(({ authors }) => authors)).toEqual([[ids[1]]]);
  await expectChain(record);
});

test("who tells otherwise once the commit is written, and not applied by all, is refused and reported, and keeps its place", async () => {
  const { owner, ids } = await committing(
    FALSE,
    async (control, [, other]) => {
      expect(control.status().step).toBe(0);
      const told = other!.tell(control);
      await expect(told).rejects.toMatchObject({
        code: "different_completion",
      });
    },
    "apply",
  );
  const { microbatches, commit } = await owner.run.step(0);
  expect(commit).not.toBeNull();
  expect(microbatches.map(({ authors }) => authors)).toEqual([[ids[0]]]);
  for (const { state } of await owner.run.joinTokens())
    expect(state).toBe("active");
  await owner.run.setState("cancelled");
  const blamed: string[] = [];
  for await (const event of owner.run.events())
    if (event.type === "conflict") blamed.push(event.author);
  expect(blamed).toEqual([ids[1]]);
});
