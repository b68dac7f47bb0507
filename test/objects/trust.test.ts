/** Trainers that lie, by malice or by a fault, beside honest ones. */
import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, test, vi } from "vitest";
import type { Lease } from "../../src/api/lease.ts";
import { joinToken } from "../../src/http/auth.ts";
import type { Env } from "../../src/http/env.ts";
import type { RunEvent } from "../../src/api/run-metrics.ts";
import { compareRuns } from "../../src/cli/compared-runs.ts";
import { authorOfKey } from "../../src/objects/platform/author.ts";
import { RunControl } from "../../src/objects/run/run-control.ts";
import { verificationOf } from "../../src/objects/run/verification.ts";
import { Pace } from "../../src/objects/run/pace.ts";
import { SecondDraw } from "../../src/objects/run/second-draw.ts";
import { StepLeases } from "../../src/objects/run/step-leases.ts";
import { verdictOf } from "../../src/objects/run/verdict.ts";
import type { TrainingService } from "../../src/training/service.ts";
import {
  bindings,
  clientOf,
  finish,
  keyOf,
  outcomeOf,
  ScriptedTrainer,
  startRun,
  startScripted,
  worker,
} from "../support/run.ts";
import { heldShards } from "../support/held-shards.ts";
import { uniform } from "../support/random.ts";

afterEach(reset);

const HEX = expect.stringMatching(/^[0-9a-f]{64}$/) as string;

async function sha256(value: unknown): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
}

/** What honest trainers of a scripted run push. */
const TRUE = 0.5;
const FALSE = 77;

async function told(trainer: ScriptedTrainer): Promise<string[]> {
  await trainer.run.setState("cancelled");
  const lines: string[] = [];
  for await (const event of trainer.run.events()) lines.push(lineOf(event));
  return lines.filter(Boolean);
}

function lineOf(event: RunEvent): string {
  if (event.type === "conflict")
    return `conflict ${event.kind} ${event.step}.${event.microbatch} ${event.author}`;
  if (event.type === "author") return `${event.author} ${event.state}`;
  if (event.type === "waiting")
    return `waiting ${event.kind} ${event.step}.${event.microbatch} ${event.reason}`;
  return "";
}

type Stranger = ScriptedTrainer & { token: string };

/** A lease of training microbatch `index`, whoever else has one. */
async function leaseOf(
  trainer: ScriptedTrainer & { token?: string },
  index: number,
  step = 0,
): Promise<Lease> {
  const leased = { kind: "train", step, index } as const;
  const caller = trainer.token?.split(".")[2];
  const name = trainer.identity.trainer;
  const key = await keyOf(trainer.run.run, leased, name, caller);
  return { ...leased, key, deadlineMs: 0 };
}

/** Push and complete, first of all. */
async function tell(
  trainer: ScriptedTrainer,
  index: number,
  value: number,
  lossSum = 64,
) {
  const lease = await leaseOf(trainer, index);
  await trainer.pushFor(lease, value);
  return trainer.complete(lease, value, lossSum);
}

/** Names that the run gave its join tokens. */
function idOf({ token }: { token: string }): string {
  return token.split(".")[2]!;
}

/** That every step's gradient was that of TRUE at each real parameter. */
async function expectTrue({ run, status }: ScriptedTrainer): Promise<void> {
  for (const { gradNorm, trainLoss } of await run.metrics()) {
    const root = Math.sqrt(status.parameters);
    expect(gradNorm!).toBeLessThanOrEqual(TRUE * root);
    expect(gradNorm!).toBeGreaterThan(0.98 * TRUE * root);
    expect(trainLoss).toBe(1);
  }
}

async function present(...trainers: ScriptedTrainer[]): Promise<void> {
  for (const { run, identity } of trainers) await run.lease(identity);
}

test.each([
  ["a gradient", FALSE, 64, undefined],
  ["a loss", TRUE, 65, undefined],
  ["a gradient in a subtree", FALSE, 64, 2],
])(
  "a lying first pusher, of %s, is outvoted: the run ends in the honest bytes, with honest trainers only",
  async (_what, value, lossSum, subtree) => {
    const owner = await startScripted({ steps: 2, shards: 2, subtree });
    const liar = await owner.stranger("liar");
    const honest = await owner.stranger("honest");
    await present(owner, liar, honest);
    await tell(liar, 0, value, lossSum);
    // Another microbatch of the liar's, of which nobody told otherwise.
    await tell(liar, 3, value, lossSum);
    expect(await tell(honest, 0, TRUE)).toMatchObject({ duplicate: false });
    await tell(owner, 0, TRUE);
    await expect(liar.run.lease(liar.identity)).rejects.toMatchObject({
      code: "forbidden",
    });
    await expect(liar.run.pull(0, 0)).rejects.toMatchObject({
      code: "forbidden",
    });
    const late = await leaseOf(liar, 1);
    await expect(liar.pushFor(late, FALSE)).rejects.toMatchObject({
      code: "forbidden",
    });
    await honest.reach(1);
    await owner.reach(2);
    await expectTrue(owner);
    expect((await owner.run.joinTokens()).map(({ state }) => state)).toEqual([
      "quarantined",
      "active",
    ]);
    expect(await told(owner)).toEqual([
      `conflict train 0.0 ${idOf(honest)}`,
      `conflict train 0.0 owner.scripted`,
      `${idOf(liar)} quarantined`,
    ]);
  },
);

test("with the owner's trainer alone beside it, a liar loses the tie", async () => {
  const owner = await startScripted({ steps: 1 });
  const liar = await owner.stranger("liar");
  await present(owner, liar);
  await tell(liar, 0, FALSE);
  await tell(owner, 0, TRUE);
  await owner.reach(1);
  await expectTrue(owner);
});

test("two that lie alike beside two that do not are a tie: the run waits and says so, also after an eviction, until one more decides", async () => {
  const owner = await startScripted({ steps: 1 });
  const [one, two, three, four] = await Promise.all(
    ["one", "two", "three", "four"].map((name) => owner.stranger(name)),
  );
  await present(one!, two!, three!, four!);
  await tell(one!, 0, FALSE);
  await tell(three!, 0, TRUE);
  await tell(two!, 0, FALSE);
  // Nothing is decided while the fourth could turn it.
  expect(
    (await owner.run.joinTokens()).every(({ state }) => state === "active"),
  ).toBe(true);
  await tell(four!, 0, TRUE);
  await evictDurableObject(bindings.RUN.getByName(owner.run.run));
  await owner.reach(1);
  await expectTrue(owner);
  const lines = await told(owner);
  expect(lines).toContain("waiting train 0.0 undecided");
  expect(lines.slice(-2).toSorted()).toEqual(
    [one, two].map((each) => `${idOf(each!)} quarantined`).toSorted(),
  );
});

test("one token counts once, whatever names its trainers have, and what it tells against itself costs it its place", async () => {
  const owner = await startScripted({ steps: 1 });
  const liar = await owner.stranger("a");
  const honest = await owner.stranger("honest");
  const names = ["b", "c", "d"].map((name) =>
    Object.assign(
      Object.create(Object.getPrototypeOf(liar) as object) as typeof liar,
      liar,
      { identity: { ...liar.identity, trainer: name } },
    ),
  );
  await present(owner, liar, honest, ...names);
  await tell(liar, 0, FALSE);
  for (const name of names) await tell(name, 0, FALSE);
  await tell(honest, 0, TRUE);
  await tell(owner, 0, TRUE);
  await owner.reach(1);
  await expectTrue(owner);
  expect((await owner.run.joinTokens())[0]!.state).toBe("quarantined");
  expect((await owner.run.status()).trainers).toContainEqual(
    expect.objectContaining({ name: "b", author: idOf(liar) }),
  );
});

test("one that tells two results of one microbatch is put under quarantine, and its owner may take it back", async () => {
  const owner = await startScripted({ steps: 2 });
  const faulty = await owner.stranger("faulty");
  await present(faulty);
  await tell(faulty, 0, TRUE);
  const again = await leaseOf(faulty, 0);
  await expect(faulty.complete(again, FALSE)).rejects.toMatchObject({
    code: "different_completion",
  });
  const [token] = await owner.run.joinTokens();
  expect(token!.state).toBe("quarantined");
  await expect(owner.run.setTokenState("x-1", "active")).rejects.toMatchObject({
    code: "token_not_found",
  });
  await owner.run.setTokenState(token!.id, "active");
  await faulty.reach(1);
  await expectTrue(owner);
});

test("a completion without its push is taken back, and a token that told it tells no more", async () => {
  const owner = await startScripted({ steps: 1, microbatches: 1 });
  const liar = await owner.stranger("liar");
  await present(liar);
  await liar.complete(await leaseOf(liar, 0), TRUE);
  await owner.reach(1);
  await expectTrue(owner);
  expect(await told(owner)).toEqual([
    `conflict train 0.0 ${idOf(liar)}`,
    `${idOf(liar)} quarantined`,
  ]);
});

test("a token that is revoked in the middle of a step is out at once, with what it told of it", async () => {
  const owner = await startScripted({ steps: 1 });
  const revoked = await owner.stranger("revoked");
  await present(revoked);
  await tell(revoked, 0, FALSE);
  await owner.run.setTokenState(idOf(revoked), "revoked");
  for (const call of [
    () => revoked.run.lease(revoked.identity),
    () => revoked.run.status(),
    () => revoked.run.tokens(owner.status.config.dataset, 0, 4),
    async () => revoked.complete(await leaseOf(revoked, 0), FALSE),
  ])
    await expect(call()).rejects.toMatchObject({ code: "unauthorized" });
  for (const call of [
    () => revoked.run.pull(0, 0),
    async () => revoked.pushFor(await leaseOf(revoked, 1), FALSE),
  ])
    await expect(call()).rejects.toMatchObject({ code: "forbidden" });
  await owner.reach(1);
  await expectTrue(owner);
});

test.each([
  ["revoked", undefined],
  ["quarantined", undefined],
  ["revoked", 2],
] as const)(
  "a token that is %s between its push and its completion and reinstated, with subtree %s, is no liar: what it pushed is void, and it computes again",
  async (state, subtree) => {
    const owner = await startScripted({ steps: 2, shards: 2, subtree });
    const guest = await owner.stranger("guest");
    const id = idOf(guest);
    const { lease } = await guest.run.lease(guest.identity);
    await guest.pushFor(lease!, TRUE);
    if (state === "revoked") await owner.run.setTokenState(id, "revoked");
    else {
      const other = { ...(await leaseOf(guest, 3)) };
      await guest.pushFor(other, FALSE);
      await expect(guest.pushFor(other, TRUE)).rejects.toMatchObject({
        code: "different_bytes",
      });
    }
    await owner.run.setTokenState(id, "active");
    // Also if it pushes again under the key of before, or the run was evicted.
    await guest.pushFor(lease!, TRUE);
    await evictDurableObject(bindings.RUN.getByName(owner.run.run));
    await expect(guest.complete(lease!, TRUE)).rejects.toMatchObject({
      code: "no_lease",
      message: `Expected the key of a lease since "${id}" was reinstated, got an earlier one, whose push is void`,
    });
    const forged = lease!.key.split(":");
    for (const times of ["1", "01"])
      await expect(
        guest.complete(
          {
            ...lease!,
            key: [...forged.slice(0, 2), forged[2] ?? "", times].join(":"),
          },
          TRUE,
        ),
      ).rejects.toMatchObject({
        code: "no_lease",
        message: expect.stringContaining("got another") as string,
      });
    await guest.reach(2);
    await expectTrue(owner);
    expect((await owner.run.joinTokens())[0]!.state).toBe("active");
    // What it is told of later counts as before.
    await expect(guest.complete(lease!, TRUE)).resolves.toMatchObject({
      duplicate: true,
    });
    const lines = (await told(owner)).filter(
      (line) => !line.startsWith("waiting"),
    );
    expect(lines).toEqual([
      ...(state === "quarantined" ? [`conflict train 0.3 ${id}`] : []),
      `${id} ${state}`,
      `${id} active`,
    ]);
  },
);

test("a token opens the run that it was issued for, not one that has its id later, and reads that run's dataset only", async () => {
  const owner = await startScripted({ run: "again" });
  const stranger = await owner.stranger("stranger");
  const other = await startRun();
  const { dataset } = other.status.config;
  await expect(stranger.run.tokens(dataset, 0, 4)).rejects.toMatchObject({
    code: "forbidden",
  });
  expect(
    await stranger.run.tokens(owner.status.config.dataset, 0, 4),
  ).toHaveLength(4);
  const before = await leaseOf(owner, 0);
  await owner.run.setState("cancelled");
  await owner.run.remove();
  const second = await startScripted({ run: "again" });
  for (const call of [
    () => stranger.run.lease(stranger.identity),
    () => stranger.run.status(),
    () => stranger.run.pull(0, 0),
    () => stranger.run.tokens(second.status.config.dataset, 0, 4),
  ])
    await expect(call()).rejects.toMatchObject({ code: "unauthorized" });
  await expect(second.pushFor(before, TRUE)).rejects.toMatchObject({
    code: "no_lease",
  });
});

test("with redundancy 2, a trainer that computes wrong by a fault neither ends nor changes a run of real trainers", async () => {
  const undisturbed = await startRun();
  await finish(undisturbed.run);
  const expected = await outcomeOf(undisturbed.run);

  const { run } = await startRun({ redundancy: 2 });
  const { token } = await run.joinToken();
  const faulty = clientOf(worker, token).run(run.run);
  // Of the first parameters that it pulls, the signs are wrong.
  const broken: TrainingService = {
    status: () => faulty.status(),
    lease: (request) => faulty.lease(request),
    complete: (lease, completion) => faulty.complete(lease, completion),
    push: (shard, lease, frame) => faulty.push(shard, lease, frame),
    tokens: (dataset, start, length) => faulty.tokens(dataset, start, length),
    tokenizer: (dataset) => faulty.tokenizer(dataset),
    async pull(shard, step) {
      const frame = await faulty.pull(shard, step);
      for (let sign = 1; sign < 1000; sign += 2) frame.payload[sign]! ^= 0x80;
      return frame;
    },
  };
  const tokens = [await run.joinToken(), await run.joinToken()];
  const honest = tokens.map((each) =>
    clientOf(worker, each.token).run(run.run),
  );
  const outcomes = await Promise.allSettled([
    finish(broken, ["faulty"]),
    ...honest.map((each, index) => finish(each, [`honest-${index}`])),
  ]);
  expect(outcomes).toMatchObject([
    { reason: { code: "forbidden" } },
    { status: "fulfilled" },
    { status: "fulfilled" },
  ]);
  expect((await run.status()).state).toBe("finished");
  expect(await outcomeOf(run)).toEqual(expected);
  expect((await run.joinTokens()).map(({ state }) => state)).toEqual([
    "quarantined",
    "active",
    "active",
  ]);
});

test("what redundancy asks for waits for a second author, and says so; two that agree are enough", async () => {
  const one = await startScripted({ steps: 1, microbatches: 1, redundancy: 2 });
  const other = await one.stranger("other");
  await present(one);
  await tell(one, 0, TRUE);
  // It has told its word, and gets another microbatch.
  expect((await one.run.lease(one.identity)).lease!.kind).toBe("eval");
  expect((await one.run.status()).step).toBe(0);
  await Promise.all([one.reach(1), other.reach(1)]);
  await expectTrue(one);
  expect(await told(one)).toContain("waiting train 0.0 unverified");
});

test("with redundancy 2 two that lie alike are believed where the second of them is drawn, and named; where an honest one is, the most have it", async () => {
  for (const isHonest of [false, true]) {
    const { owner, first, drawn } = await startVerified({ redundancy: 2 });
    const [asked, ...others] = drawn;
    const accomplice = isHonest ? others.pop()! : asked!;
    await tell(first, 0, FALSE);
    await tell(accomplice, 0, FALSE);
    const liars = [idOf(first), idOf(accomplice)].toSorted();
    if (isHonest) {
      expect((await owner.run.status()).step).toBe(0);
      for (const each of [asked!, ...others]) await tell(each, 0, TRUE);
      await expectTrue(owner);
    }
    const { microbatches, commit } = await owner.run.step(0);
    expect(commit).not.toBeNull();
    if (!isHonest) expect(microbatches[0]!.authors).toEqual(liars);
    const state = isHonest ? "quarantined" : "active";
    for (const token of await owner.run.joinTokens())
      expect(token.state).toBe(liars.includes(token.id) ? state : "active");
  }
});

test("with redundancy 3 two are drawn at once once the first has told, and nobody else gets it or is believed; who is late makes room for one more", async () => {
  const { owner, first, drawn } = await startVerified({ redundancy: 3 });
  const [one, two, third, last] = drawn;
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    await tell(first, 0, TRUE);
    for (const each of [third!, last!])
      expect((await tellEvaluation(each)).lease).toBeNull();
    for (const each of [one!, two!])
      expect((await tellEvaluation(each)).lease).toMatchObject({
        kind: "train",
        index: 0,
      });
    await tell(third!, 0, TRUE);
    await tell(last!, 0, TRUE);
    vi.setSystemTime(Date.now() + 2 * USUAL_MS);
    await tell(two!, 0, TRUE);
    expect((await owner.run.step(0)).commit).toBeNull();
    vi.setSystemTime(Date.now() + 2 * USUAL_MS);
    // What the third has told counts, now that the first of them is late.
    await tellEvaluation(last!);
    const { commit, microbatches } = await owner.run.step(0);
    expect(commit).not.toBeNull();
    expect(microbatches[0]!.authors).toHaveLength(4);
  } finally {
    vi.useRealTimers();
  }
});

test("a token that was revoked stays so, whatever comes of it that was on its way; one that has expired is not taken back", async () => {
  const owner = await startScripted({ steps: 1 });
  const revoked = await owner.stranger("revoked");
  await present(revoked);
  const { key } = await leaseOf(revoked, 0);
  await owner.run.setTokenState(idOf(revoked), "revoked");
  const stub = bindings.RUN.getByName(owner.run.run);
  await runInDurableObject(stub, async (_object, { storage }) => {
    const control = new RunControl(storage, bindings);
    await control.desk.reportConflict(idOf(revoked), 0, 0, key);
  });
  expect((await owner.run.joinTokens())[0]!.state).toBe("revoked");

  const { id } = await owner.run.joinToken({ expiresInMs: 1 });
  await vi.waitUntil(
    async () => (await owner.run.joinTokens())[1]!.expiresMs! < Date.now(),
  );
  await expect(owner.run.setTokenState(id, "active")).rejects.toMatchObject({
    code: "wrong_state",
  });
  expect((await owner.run.setTokenState(id, "revoked")).state).toBe("revoked");
});

test("verify has the run's secret choose its share, the same whenever it is asked", async () => {
  const keys = { creation: "c", secret: "s" };
  const required = (verify: number, index: number, secret = "s") =>
    verificationOf(
      { verify },
      { ...keys, secret },
      { kind: "train", step: index >> 6, index: index & 63 },
    );
  const chosen = async (verify: number, secret = "s") => {
    const found = [];
    for (let index = 0; index < 2000; index++)
      if ((await required(verify, index, secret)).required === 2)
        found.push(index);
    return found;
  };
  const quarter = await chosen(0.25);
  // 4 standard deviations of a binomial.
  expect(Math.abs(quarter.length - 500)).toBeLessThan(4 * Math.sqrt(375));
  expect(await chosen(0.25)).toEqual(quarter);
  expect(await chosen(0.25, "t")).not.toEqual(quarter);
  expect(await chosen(0)).toEqual([]);
  expect(await chosen(1)).toHaveLength(2000);
  // Kind, step and index each choose, and whom the run asks is drawn by something else.
  type Of = Parameters<typeof verificationOf>[2];
  const ways: ((i: number) => Of)[] = [
    (index) => ({ kind: "train", step: 0, index }),
    (step) => ({ kind: "train", step, index: 0 }),
    (index) => ({ kind: "eval", step: 0, index }),
  ];
  const seeds: number[] = [];
  const rows = new Set<string>();
  for (const way of ways) {
    const row: number[] = [];
    for (let i = 0; i < 64; i++) {
      const { required, seed } = await verificationOf(
        { verify: 0.25 },
        keys,
        way(i),
      );
      row.push(required);
      if (seed !== null) seeds.push(seed);
    }
    expect(new Set(row)).toEqual(new Set([1, 2]));
    rows.add(row.join(""));
  }
  expect(rows.size).toBe(3);
  expect(Math.max(...seeds)).toBeGreaterThan(0.25);
});

test("where there is no secret yet, no key opens anything, also one that is signed with none", async () => {
  const leased = { kind: "train", step: 0, index: 0 } as const;
  const keys = { creation: "c", secret: "" };
  for (const signature of ["", "A".repeat(43)])
    await expect(
      authorOfKey(keys, "owner", leased, `owner.x:${signature}`),
    ).rejects.toMatchObject({ code: "no_lease" });
});

test("whom the run asks is drawn by its secret and the microbatch, whatever asks for more words than one", async () => {
  const asked = (
    config: { verify?: number; redundancy?: number },
    index = 0,
    kind: "train" | "eval" = "train",
    secret = "s",
    step = 0,
  ) => verificationOf(config, { creation: "c", secret }, { kind, step, index });
  const { seed } = await asked({ verify: 1 });
  expect(seed).toBeGreaterThanOrEqual(0);
  expect(seed).toBeLessThan(1);
  expect(await asked({ redundancy: 2 })).toEqual({ required: 2, seed });
  expect(await asked({ verify: 1, redundancy: 3 })).toEqual({
    required: 3,
    seed,
  });
  expect(await asked({ verify: 0.0001, redundancy: 3 })).toEqual({
    required: 3,
    seed,
  });
  expect(await asked({ redundancy: 1 })).toEqual({ required: 1, seed: null });
  const other = [
    await asked({ redundancy: 2 }, 1),
    await asked({ redundancy: 2 }, 0, "eval"),
    await asked({ redundancy: 2 }, 0, "train", "t"),
    await asked({ redundancy: 2 }, 0, "train", "s", 1),
  ];
  expect(new Set([seed, ...other.map((each) => each.seed)]).size).toBe(5);
});

/** Whether who lied is put out, once all have told. */
function isOutvoted(authors: readonly string[], liars: number): boolean {
  const ballots = authors.map((author, n) => ({
    author,
    says: n < liars ? "lie" : "truth",
    counts: false,
  }));
  const verdict = verdictOf(ballots, 2, 0);
  return (
    "liars" in verdict &&
    verdict.liars.join() === authors.slice(0, liars).join()
  );
}

/**
 * Whether a lie that one of `liars` tokens of `all` tells of a microbatch is found before the commit, where the others of
 * them are quicker than anybody honest, tell alike, and have the keys of leases of it from before.
 */
async function isFound(
  config: { verify?: number; redundancy?: number },
  [liars, all]: readonly [number, number],
  secret: string,
  leased: { kind: "train"; step: number; index: number },
): Promise<boolean> {
  const keys = { creation: "c", secret };
  const asked = await verificationOf(config, keys, leased);
  const usual = { train: 100 };
  const pace = new Pace(
    () => usual,
    () => [{ author: "", usual }],
  );
  const work = new StepLeases(leased.step, [leased]);
  const authors = Array.from({ length: all }, (_, n) => `c-${n}`);
  const told = [{ author: authors[0]!, says: "lie", counts: true }];
  const state = () => verdictOf(told, asked.required, all - told.length).kind;
  if (state() === "settled") return false;
  work.ask(leased, asked.required - 1, [authors[0]!], asked.seed);
  const there = authors.slice(1).map((author) => ({ name: author, author }));
  while (work.isDrawDue(leased, 0)) work.draw(leased, there, 0, pace);
  for (const { author } of there) {
    const isLiar = authors.indexOf(author) < liars;
    const isAsked =
      work.take({ trainer: author, bootId: "b", author }, 0, pace) !== null;
    const counts = work.isDrawn(leased, author);
    expect(counts).toBe(isAsked);
    if (isAsked && !isLiar) return isOutvoted(authors, liars);
    if (isLiar) told.push({ author, says: "lie", counts });
    if (state() === "settled") return false;
  }
  throw new Error("Expected somebody to be asked, got nobody");
}

test.each([
  [{ verify: 0.05 }, 1, 4, 20, [1, 5]],
  [{ verify: 0.1 }, 0.5, 2, 20, [1, 4]],
  [{ verify: 0.25 }, 0.1, 4, 10, [1, 9]],
  [{ verify: 1 }, 0.1, 1, 5, [1, 3]],
  [{ verify: 0.25 }, 0.5, 4, 4, [2, 5]],
  [{ verify: 0.5 }, 0.2, 2, 10, [4, 9]],
  [{ verify: 1 }, 0.5, 1, 3, [3, 7]],
  [{ redundancy: 2 }, 0.1, 1, 5, [1, 3]],
  [{ redundancy: 2 }, 0.5, 1, 3, [3, 7]],
  [{ redundancy: 3 }, 0.1, 4, 4, [2, 5]],
  [{ redundancy: 3 }, 0.2, 2, 4, [3, 7]],
  [{ redundancy: 3, verify: 0.5 }, 0.7, 1, 1, [4, 9]],
  [{ redundancy: 4 }, 0.8, 1, 1, [6, 13]],
] as const)(
  "%j finds who lies in a share %f of %i microbatches a step, after %i steps, alone or with others of %j tokens that lie alike and are quickest, as often as docs/trust.md says",
  async (
    config: { verify?: number; redundancy?: number },
    share,
    perStep,
    steps,
    tokens,
  ) => {
    const { verify = 0, redundancy = 1 } = config;
    const trials = 300;
    let found = 0;
    const random = uniform(7);
    for (let trial = 0; trial < trials; trial++) {
      let isOut = false;
      for (let lie = 0; lie < steps * perStep && !isOut; lie++) {
        if (random() >= share) continue;
        const leased = {
          kind: "train",
          step: Math.floor(lie / perStep),
          index: lie % perStep,
        } as const;
        isOut = await isFound(config, tokens, `trial ${trial}`, leased);
      }
      if (isOut) found++;
    }
    const [liars, all] = tokens;
    // That all who are drawn beside the first are of them.
    let accomplices = 1;
    for (let i = 1; i < Math.max(redundancy, 2); i++)
      accomplices *= (liars - i) / (all - i);
    const asked = redundancy > 1 ? 1 : verify;
    const each = asked * share * (1 - accomplices);
    const expected = 1 - (1 - each) ** (perStep * steps);
    const deviation = Math.sqrt((expected * (1 - expected)) / trials);
    expect(Math.abs(found / trials - expected)).toBeLessThan(4 * deviation);
  },
);

async function tellEvaluation(trainer: Stranger) {
  const { run, identity } = trainer;
  const evaluated = { kind: "eval", step: 0, index: 0 } as const;
  const key = await keyOf(run.run, evaluated, identity.trainer, idOf(trainer));
  return trainer.complete({ ...evaluated, key, deadlineMs: 0 });
}

/** What strangers of `startVerified` take for a microbatch, as the run knows. */
const USUAL_MS = 5_000;

/** A step of one training microbatch, which is verified, and strangers who are there; all else of the step is told. */
async function startVerified(
  asked: { verify?: number; redundancy?: number } = { verify: 1 },
) {
  const owner = await startScripted({
    steps: 1,
    ...asked,
    microbatches: 1,
    evaluation: { interval: 2, microbatches: 1 },
  });
  const [first, ...others] = await Promise.all(
    ["one", "two", "three", "four", "five"].map((name) => owner.stranger(name)),
  );
  await present(first!, ...others);
  for (const each of [first!, ...others]) await tellEvaluation(each);
  const stub = bindings.RUN.getByName(owner.run.run);
  const secret = await runInDurableObject(stub, (_object, { storage }) => {
    storage.sql.exec(
      "UPDATE trainers SET usual = ?",
      JSON.stringify({ train: USUAL_MS }),
    );
    return storage.sql.exec<{ secret: string }>("SELECT secret FROM run").one()
      .secret;
  });
  await evictDurableObject(stub);
  const { seed } = await verificationOf(
    asked,
    { creation: "", secret },
    { kind: "train", step: 0, index: 0 },
  );
  /** Those who did not tell first, in the order in which they are drawn. */
  const drawn: typeof others = [];
  const draw = new SecondDraw("train", seed!);
  const there = others.map((each) => ({
    name: idOf(each),
    author: idOf(each),
  }));
  const pace = new Pace(
    () => undefined,
    () => [],
  );
  while (drawn.length < others.length) {
    const author = draw.draw(1, there, 100_000 * drawn.length, pace)!;
    drawn.push(others.find((each) => idOf(each) === author)!);
  }
  return { owner, first: first!, drawn };
}

/** The lease that it gets at once, if any, as one that held none. */
async function given(trainer: Stranger) {
  await trainer.run.leave(trainer.identity);
  return (await tellEvaluation(trainer)).lease;
}

test.each(["", ", after an eviction"])(
  "a second look is given to none but who is drawn by the run's secret, whoever asks first%s",
  async (after) => {
    const { owner, first, drawn } = await startVerified();
    await tell(first, 0, TRUE);
    if (after !== "")
      await evictDurableObject(bindings.RUN.getByName(owner.run.run));
    const [asked, ...others] = drawn;
    for (const each of [first, ...others]) expect(await given(each)).toBeNull();
    expect(await given(asked!)).toMatchObject({ kind: "train", index: 0 });
  },
);

test("who is revoked, or under quarantine, is not drawn, and makes room at once where it was", async () => {
  const { owner, first, drawn } = await startVerified();
  const [one, two, three] = drawn;
  await owner.run.setTokenState(idOf(one!), "revoked");
  await tell(first, 0, TRUE);
  // It was drawn, and is put out by what it tells of an evaluation.
  const evaluated = { kind: "eval", step: 0, index: 0 } as const;
  const key = await keyOf(
    owner.run.run,
    evaluated,
    two!.identity.trainer,
    idOf(two!),
  );
  await expect(
    two!.complete({ ...evaluated, key, deadlineMs: 0 }, TRUE, 65),
  ).rejects.toMatchObject({ code: "different_completion" });
  expect((await owner.run.step(0)).commit).toBeNull();
  await tellEvaluation(three!);
  await tell(three!, 0, TRUE);
  expect((await owner.run.step(0)).commit).not.toBeNull();
});

/** As if the run's clock had gone on so far. */
async function later(ms: number, body: () => Promise<unknown>) {
  vi.setSystemTime(Date.now() + ms);
  await body();
}

/** `body` sets the time, and has the two of a draw that are there: the first that is drawn holds a lease of the microbatch. */
async function amidDraw(
  body: (those: {
    first: Stranger;
    silent: Stranger;
    other: Stranger;
    isCommitted: () => Promise<boolean>;
  }) => Promise<void>,
): Promise<void> {
  const { owner, first, drawn } = await startVerified();
  const [silent, other, ...gone] = drawn;
  const isCommitted = async () => (await owner.run.step(0)).commit !== null;
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    const { lease } = await tellEvaluation(silent!);
    expect(lease).toMatchObject({ kind: "train", index: 0 });
    for (const each of gone) await each.run.leave(each.identity);
    await body({ first, silent: silent!, other: other!, isCommitted });
  } finally {
    vi.useRealTimers();
  }
}

test("who let a lease of it lapse is drawn behind all others, and before nobody", () =>
  amidDraw(async ({ first, silent, other, isCommitted }) => {
    // Its lease is over, and it is there; so is the other, all the time.
    await later(4 * USUAL_MS, () => tellEvaluation(other));
    await tellEvaluation(silent);
    await tell(first, 0, TRUE);
    await tell(silent, 0, TRUE);
    expect(await isCommitted()).toBe(false);
    // The other is late: nobody else is there.
    await later(4 * USUAL_MS - 100, () => tellEvaluation(silent));
    expect(await isCommitted()).toBe(false);
    await later(100, () => tellEvaluation(silent));
    expect(await isCommitted()).toBe(true);
  }));

test("beside one who let a lease of it lapse, who is drawn and late is not waited for, though its lease goes on", () =>
  amidDraw(async ({ first, silent, other, isCommitted }) => {
    await later(4 * USUAL_MS, () => tellEvaluation(silent));
    await tell(first, 0, TRUE);
    await tell(silent, 0, TRUE);
    // It asks for what it is drawn for when half of its time is over.
    await later(2 * USUAL_MS, async () => {
      const { lease } = await tellEvaluation(other);
      expect(lease).toMatchObject({ kind: "train", index: 0 });
    });
    await later(2 * USUAL_MS - 100, () => tellEvaluation(silent));
    expect(await isCommitted()).toBe(false);
    await later(100, () => tellEvaluation(silent));
    expect(await isCommitted()).toBe(true);
  }));

test("a microbatch of which an earlier release has asked anybody goes on as it was asked", async () => {
  const { owner, first, drawn } = await startVerified({ redundancy: 2 });
  await tell(first, 0, TRUE);
  const stub = bindings.RUN.getByName(owner.run.run);
  await runInDurableObject(stub, (_object, { storage }) => {
    storage.sql.exec("UPDATE ballots SET seed = NULL");
  });
  await evictDurableObject(stub);
  await tell(drawn.at(-1)!, 0, TRUE);
  expect((await owner.run.step(0)).commit).not.toBeNull();
});

test("the most have it, whoever was asked: who is drawn is not waited for once it could not turn it", async () => {
  const { owner, first, drawn } = await startVerified();
  const [, ...others] = drawn;
  await tell(first, 0, FALSE);
  for (const each of others) await tell(each, 0, TRUE);
  await expectTrue(owner);
  expect((await owner.run.step(0)).commit).not.toBeNull();
});

test("where one word suffices, that of who told otherwise stands once the first is revoked", async () => {
  const owner = await startScripted({ steps: 1, microbatches: 1 });
  const [first, other] = [
    await owner.stranger("first"),
    await owner.stranger("other"),
  ] as const;
  await present(owner, first, other);
  await tell(first, 0, FALSE);
  await tell(other, 0, TRUE);
  await owner.run.setTokenState(idOf(first), "revoked");
  const { microbatches } = await owner.run.step(0);
  expect(microbatches.map(({ authors }) => authors)).toEqual([[idOf(other)]]);
  // All else is evaluations.
  await other.run.leave(other.identity);
  expect((await other.run.lease(other.identity)).lease!.kind).toBe("eval");
  await other.reach(1);
  await expectTrue(owner);
});

test("a token that is there could turn a vote once, with however many trainers; who is outvoted by what it tells gets no lease for it", async () => {
  const { owner, first, drawn } = await startVerified({ redundancy: 4 });
  const [one, two, liar, idle] = drawn;
  const sister = Object.assign(
    Object.create(Object.getPrototypeOf(idle!) as object) as typeof first,
    idle,
    { identity: { ...idle!.identity, trainer: "sister" } },
  );
  await sister.run.lease(sister.identity);
  for (const each of [first, one!, two!]) await tell(each, 0, TRUE);
  expect((await owner.run.step(0)).commit).toBeNull();
  const { lease } = await tell(liar!, 0, FALSE);
  expect(lease).toBeNull();
  const tokens = await owner.run.joinTokens();
  expect(tokens.find(({ id }) => id === idOf(liar!))!.state).toBe(
    "quarantined",
  );
});

test("a second word that nobody has asked for is not believed, how quick it ever comes, also after an eviction; who is drawn by the run's secret finds the lie", async () => {
  const { owner, first, drawn } = await startVerified();
  const [asked, accomplice, ...honest] = drawn;
  await tell(first, 0, FALSE);
  for (const each of [accomplice!, ...honest]) await tell(each, 0, FALSE);
  const stub = bindings.RUN.getByName(owner.run.run);
  await evictDurableObject(stub);
  // As all of them do that are there.
  await tell(accomplice!, 0, FALSE);
  expect((await owner.run.status()).step).toBe(0);
  expect(
    (await owner.run.joinTokens()).every(({ state }) => state === "active"),
  ).toBe(true);
  await present(asked!);
  await tell(asked!, 0, TRUE);
  expect(await told(owner)).toContain(`conflict train 0.0 ${idOf(asked!)}`);
});

test("a second look is one of a token that is there: with nobody but two that lie alike, they are believed, and named", async () => {
  const owner = await startScripted({ steps: 1, verify: 1, microbatches: 1 });
  const [one, two] = await Promise.all(
    ["one", "two"].map((name) => owner.stranger(name)),
  );
  await present(one!, two!);
  await tell(one!, 0, FALSE);
  await tell(two!, 0, FALSE);
  await Promise.all([one!.reach(1), two!.reach(1)]);
  const { microbatches } = await owner.run.step(0);
  const liars = [idOf(one!), idOf(two!)].toSorted();
  expect(microbatches[0]!.authors).toEqual(liars);
});

test("who is drawn and late is not waited for alone: another is drawn, whose word counts if it has told meanwhile", async () => {
  const { owner, first, drawn } = await startVerified();
  const [, next, other] = drawn;
  const isCommitted = async () => {
    await tellEvaluation(other!);
    return (await owner.run.step(0)).commit !== null;
  };
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    await tell(first, 0, TRUE);
    await tell(next!, 0, TRUE);
    // Twice what is given to one microbatch, which is twice what each of them takes.
    vi.setSystemTime(Date.now() + 4 * USUAL_MS - 100);
    expect(await isCommitted()).toBe(false);
    vi.setSystemTime(Date.now() + 101);
    expect(await isCommitted()).toBe(true);
  } finally {
    vi.useRealTimers();
  }
});

test("a dispute that ends by who began it being put out has asked nobody: the second word is drawn as before", async () => {
  const { owner, first, drawn } = await startVerified();
  const [asked, accomplice, sacrificed] = drawn;
  await tell(first, 0, FALSE);
  await tell(sacrificed!, 0, TRUE);
  await tell(accomplice!, 0, FALSE);
  await expect(tell(sacrificed!, 0, FALSE)).rejects.toMatchObject({
    code: "different_bytes",
  });
  expect(
    (await owner.run.joinTokens()).map(({ state }) => state).toSorted(),
  ).toEqual(["active", "active", "active", "active", "quarantined"]);
  expect((await owner.run.step(0)).commit).toBeNull();
  expect(await given(accomplice!)).toBeNull();
  expect(await given(asked!)).toMatchObject({ kind: "train", index: 0 });
});

test("a stranger's fingerprint shuts out nobody: the owner's trainer replaces it, and what was told under it is computed again", async () => {
  const owner = await startScripted({ steps: 1, shards: 2 });
  const first = await owner.stranger("first");
  first.identity.fingerprint = "nobody's";
  await present(first);
  await tell(first, 0, FALSE);
  const other = await owner.stranger("other");
  await expect(other.run.lease(other.identity)).rejects.toMatchObject({
    code: "fingerprint_differs",
  });
  const before = await leaseOf(first, 1);
  await present(owner);
  await expect(first.run.lease(first.identity)).rejects.toMatchObject({
    code: "fingerprint_differs",
  });
  // The keys of leases before are void, and nobody is a liar for what machines do differently.
  await expect(first.pushFor(before, FALSE)).rejects.toMatchObject({
    code: "no_lease",
  });
  await present(other);
  await owner.reach(1);
  await expectTrue(owner);
  expect((await owner.run.joinTokens()).map(({ state }) => state)).toEqual([
    "active",
    "active",
  ]);
});

test("a trainer that waits as the owner changes what trainers compute like gets no lease of the changed run", async () => {
  const owner = await startScripted({ steps: 1 });
  const first = await owner.stranger("first");
  await present(first);
  const { identity } = await owner.stranger("waiting");
  await owner.run.setState("paused");
  const waiting = expect(first.run.lease(identity)).rejects.toMatchObject({
    code: "fingerprint_differs",
  });
  await owner.run.setFingerprint("another");
  await owner.run.setState("running");
  await waiting;
});

test("a completion is answered without a lease where what trainers compute like has changed meanwhile", async () => {
  const owner = await startScripted({ steps: 2, microbatches: 1 });
  const { run, identity } = owner;
  const { trainer, bootId } = identity;
  // All but the training microbatch, so that it is what ends the step.
  for (const index of [0, 1]) {
    const evaluated = { kind: "eval", step: 0, index } as const;
    const key = await keyOf(run.run, evaluated, trainer);
    await run.lease(identity);
    await owner.complete({ ...evaluated, key, deadlineMs: 0 });
  }
  const { lease } = await run.lease(identity);
  await owner.pushFor(lease!, TRUE);
  const digests = await owner.digests(lease!, TRUE);
  await runInDurableObject(
    bindings.RUN.getByName(run.run),
    async (_object, { storage }) => {
      const { env, asked, letGo } = heldShards("apply");
      const control = new RunControl(storage, env);
      const { kind, step, index, key } = lease!;
      const told = { trainer, bootId, lossSum: 64, tokens: 64, digests };
      const completed = control.desk.complete(
        "owner",
        kind,
        step,
        index,
        told,
        key,
      );
      await asked;
      const changed = control.setFingerprint("another");
      letGo();
      await changed;
      expect(await completed).toMatchObject({ state: "running", lease: null });
    },
  );
});

test("the owner sets what trainers compute like, or resets it, and it outlives an eviction", async () => {
  const owner = await startScripted({ steps: 3 });
  await owner.reach(1);
  await owner.doLease(FALSE);
  const reset = await owner.run.setFingerprint(null);
  expect(reset).toMatchObject({ fingerprint: null, step: 1 });
  owner.identity.fingerprint = "new";
  await owner.reach(2);
  await owner.run.setFingerprint("newer");
  await evictDurableObject(bindings.RUN.getByName(owner.run.run));
  await expect(owner.run.lease(owner.identity)).rejects.toMatchObject({
    code: "fingerprint_differs",
  });
  owner.identity.fingerprint = "newer";
  await owner.reach(3);
  await expectTrue(owner);
  await expect(owner.run.setFingerprint("\n")).rejects.toMatchObject({
    code: "invalid_config",
  });
  await owner.run.setState("cancelled").catch(() => {});
  await expect(owner.run.setFingerprint("x")).rejects.toMatchObject({
    code: "wrong_state",
  });
});

test.each(["a lease", "the owner"])(
  "%s confirms a stranger's fingerprint: it is the owner's from then on",
  async (by) => {
    const owner = await startScripted();
    const { identity, run } = owner;
    await present(await owner.stranger("first"));
    if (by === "a lease") await present(owner);
    else await run.setFingerprint(identity.fingerprint);
    const other = { ...identity, trainer: "other", fingerprint: "another" };
    await expect(run.lease(other)).rejects.toMatchObject({
      code: "fingerprint_differs",
      message: expect.stringContaining("computes like the owner's") as string,
    });
    const { fingerprint } = await run.status();
    expect(fingerprint).toBe(identity.fingerprint);
  },
);

test("results are the same whoever trains and however it is sharded; the chain says who told what, and follows from the step's record", async () => {
  const plain = await startRun({ steps: 2 });
  await finish(plain.run);
  const other = await startRun({
    steps: 2,
    shards: 3,
    redundancy: 2,
    dataset: plain.status.config.dataset.name,
  });
  await finish(other.run, ["a", "b"]);
  const [one, two] = [await plain.run.metrics(), await other.run.metrics()];
  const results = one.map((each) => each.results);
  expect(two.map((each) => each.results)).toEqual(results);
  expect(results.slice(0, 2)).toEqual([HEX, HEX]);
  // The last line is an evaluation, which nothing commits.
  expect(results[2]).toBeNull();
  expect(one[0]!.chain).not.toBe(two[0]!.chain);

  const { microbatches, commit } = await other.run.step(1);
  expect(microbatches.map(({ authors }) => authors)).toEqual(
    microbatches.map(() => ["owner.a", "owner.b"]),
  );
  const { matrix, embedding, vector } = commit!.learningRates;
  const sums = microbatches.map(({ lossSum, tokens, bytes }) => [
    lossSum,
    tokens,
    bytes,
  ]);
  const { before, gradNorm, clipCoefficient } = commit!;
  const expected = await sha256([
    before.results,
    1,
    sums,
    gradNorm,
    clipCoefficient,
    [matrix, embedding, vector],
  ]);
  expect(two[1]!.results).toBe(expected);
  const told = microbatches.map(({ digests, authors }) => [digests, authors]);
  expect(two[1]!.chain).toBe(await sha256([before.chain, expected, told]));
  expect(before).toEqual({ results: two[0]!.results, chain: two[0]!.chain });
  // Both begin with the config, and the chain with how gradients are cut too.
  const [began, cut] = await Promise.all(
    [plain.run.step(0), other.run.step(0)].map(
      async (each) => (await each).commit!.before,
    ),
  );
  expect(cut!.results).toBe(began!.results);
  expect(began!.chain).toBe(await sha256([began!.results, 1]));
  expect(cut!.chain).toBe(await sha256([cut!.results, 3]));
  await expect(other.run.step(3)).rejects.toMatchObject({
    code: "future_step",
  });
});

test("an audit finds the first false step of many, and whose it is", async () => {
  const steps = 9;
  const trusted = await startScripted({ steps });
  const dataset = trusted.status.config.dataset.name;
  const audited = await startScripted({ steps, dataset });
  const liar = await audited.stranger("liar");
  await trusted.reach(steps);
  await audited.reach(5);
  expect(await compareRuns(audited.run, trusted.run)).toEqual({
    last: 4,
    first: null,
  });
  const { lease } = await liar.run.lease(liar.identity);
  await liar.pushFor(lease!, FALSE);
  await liar.complete(lease!, FALSE);
  await liar.run.leave(liar.identity);
  await audited.reach(steps);
  const first = {
    step: 5,
    microbatches: [{ index: lease!.index, authors: [idOf(liar)] }],
  };
  expect(await compareRuns(audited.run, trusted.run)).toEqual({
    last: 8,
    first,
  });
  expect(await compareRuns(audited.run, trusted.run, 5)).toEqual({
    last: 5,
    first,
  });
  expect(await compareRuns(audited.run, trusted.run, 4)).toEqual({
    last: 4,
    first: null,
  });
  const foreign = await startScripted({ steps, dataset, seed: 2 });
  await foreign.reach(1);
  await expect(compareRuns(audited.run, foreign.run)).rejects.toThrow(
    "of the same config",
  );
});

test.each([
  ["nobody has told", [], 1, 3, { kind: "open", wanted: 1 }],
  ["one suffices", ["a1"], 1, 3, { kind: "settled" }],
  ["two are required", ["a1"], 2, 3, { kind: "open", wanted: 1 }],
  ["two agree", ["a1", "b1"], 2, 0, { kind: "settled" }],
  [
    "one against one, others there",
    ["a1", "b2"],
    1,
    2,
    { kind: "disputed", wanted: 2 },
  ],
  ["one against one, nobody there", ["a1", "b2"], 1, 0, { kind: "undecided" }],
  [
    "the owner's against one",
    ["owner.x1", "b2"],
    1,
    0,
    { kind: "settled", liars: ["b"] },
  ],
  [
    "the owner's against the owner's",
    ["owner.x1", "owner.y2"],
    1,
    0,
    { kind: "undecided" },
  ],
  [
    "two to one, one could turn it",
    ["a1", "b2", "c1"],
    1,
    1,
    { kind: "disputed", wanted: 1 },
  ],
  ["two to one", ["a1", "b2", "c1"], 1, 0, { kind: "settled", liars: ["b"] }],
  [
    "two to the owner's",
    ["a1", "owner.x2", "c1"],
    1,
    0,
    { kind: "settled", liars: ["owner.x"] },
  ],
  [
    "two, one and one",
    ["a1", "b2", "c1", "d3"],
    1,
    0,
    { kind: "settled", liars: ["b", "d"] },
  ],
  [
    "three to one, one could not turn it",
    ["a1", "b2", "c1", "d1"],
    1,
    1,
    { kind: "settled", liars: ["b"] },
  ],
  [
    "two to two, and the owner's alone",
    ["a1", "b2", "c1", "d2", "owner.x3"],
    1,
    0,
    { kind: "undecided" },
  ],
  [
    "two to two with the owner's",
    ["a1", "b2", "c1", "owner.x2"],
    1,
    0,
    { kind: "settled", liars: ["a", "c"] },
  ],
] as const)("verdict: %s", (_what, ballots, required, others, expected) => {
  const cast = ballots.map((text: string) => ({
    author: text.slice(0, -1),
    says: text.slice(-1),
    counts: true,
  }));
  expect(verdictOf(cast, required, others)).toMatchObject(expected);
});

test("one of the owner's trainers completes its own leases, not another's", async () => {
  const owner = await startScripted({ steps: 1 });
  const other = new ScriptedTrainer(owner.run, owner.status, "other");
  await present(other);
  const { lease } = await owner.run.lease(owner.identity);
  await owner.pushFor(lease!, TRUE);
  await expect(other.complete(lease!, TRUE)).rejects.toMatchObject({
    code: "no_lease",
    message:
      'Expected the key of a lease of "owner.other", got one of "owner.scripted"',
  });
  expect(await owner.complete(lease!, TRUE)).toMatchObject({
    duplicate: false,
  });
});

test("what is told under a key that becomes void in the meantime is not taken", async () => {
  const owner = await startScripted();
  const { lease } = await owner.run.lease(owner.identity);
  const { kind, step, index, key } = lease!;
  const { trainer, bootId } = owner.identity;
  const digests = await owner.digests(lease!, TRUE);
  const completion = { trainer, bootId, lossSum: 64, tokens: 64, digests };
  const run = bindings.RUN.getByName(owner.run.run);
  await runInDurableObject(run, async (_object, { storage }) => {
    const control = new RunControl(storage, bindings);
    const { desk } = control;
    const told = desk.complete("owner", kind, step, index, completion, key);
    const refused = expect(told).rejects.toMatchObject({ code: "no_lease" });
    // Its key is looked at by now, and what follows from that is not.
    await control.setFingerprint("newer");
    await refused;
    expect((await control.stepRecord(step)).microbatches).toEqual([]);
  });
});

test.each([
  ["another result is told", "running"],
  ["the run is cancelled", "cancelled"],
] as const)(
  "while the shards are asked for their norms %s: the step is not committed",
  async (_what, state) => {
    const owner = await startScripted({ steps: 1, microbatches: 1 });
    const strangers = [await owner.stranger("a"), await owner.stranger("b")];
    await present(owner, ...strangers);
    const { run } = owner.run;
    // All but the training microbatch, so that it is what ends the step.
    for (const index of [0, 1]) {
      const evaluated = { kind: "eval", step: 0, index } as const;
      const key = await keyOf(run, evaluated);
      await owner.complete({ ...evaluated, key, deadlineMs: 0 });
    }
    const [one, other] = await Promise.all(
      strangers.map(async (by, i) => {
        const value = i === 0 ? TRUE : FALSE;
        const lease = await leaseOf(by, 0);
        await by.pushFor(lease, value);
        const { trainer, bootId } = by.identity;
        const digests = await by.digests(lease, value);
        const told = { trainer, bootId, lossSum: 64, tokens: 64, digests };
        return (control: RunControl) =>
          control.desk.complete(idOf(by), "train", 0, 0, told, lease.key);
      }),
    );
    await runInDurableObject(
      bindings.RUN.getByName(run),
      async (_object, { storage }) => {
        const { env, asked, letGo } = heldShards("prepare");
        const control = new RunControl(storage, env);
        const calls: Promise<unknown>[] = [one!(control)];
        try {
          // Never asked, the first call ends.
          await Promise.race([asked, calls[0]]);
          if (state === "cancelled") calls.push(control.setState(state));
          else {
            calls.push(other!(control));
            await vi.waitUntil(
              async () =>
                (await control.stepRecord(0)).microbatches.length === 2,
            );
          }
        } finally {
          letGo();
        }
        await Promise.all(calls);
        expect(await control.stepRecord(0)).toMatchObject({ commit: null });
        expect(control.status()).toMatchObject({ state, step: 0 });
        expect(control.metrics(0, 1)).toEqual([]);
      },
    );
  },
);

test.each([
  ["holds one lease of it until that lapses", async () => {}],
  [
    "restarts before its lease of it ends",
    async ({ identity }: Stranger) => {
      identity.bootId = "another";
    },
  ],
  [
    "leaves and comes under another name before its lease of it ends",
    async ({ run, identity }: Stranger) => {
      await run.leave(identity);
      identity.trainer = "another";
    },
  ],
])(
  "one who %s is not waited for to decide what others tell otherwise",
  async (_, evade) => {
    const owner = await startScripted({ steps: 1, microbatches: 2 });
    const [silent, one, other] = [
      await owner.stranger("silent"),
      await owner.stranger("one"),
      await owner.stranger("other"),
    ] as const;
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      await present(silent, one, other);
      await tell(one, 0, TRUE);
      await tell(other, 0, FALSE);
      const own = async () => (await silent.run.lease(silent.identity)).lease!;
      for (
        let { kind, index } = await own();
        kind !== "train" || index !== 0;
      ) {
        await silent.doLease(TRUE);
        ({ kind, index } = await own());
      }
      const later = async (ms: number, body: () => Promise<unknown>) => {
        vi.setSystemTime(Date.now() + ms);
        await body();
      };
      // It is there all the time, and has told nothing when its lease ends.
      await later(4_000, async () => {
        await evade(silent);
        await own();
      });
      await later(2_000, () => tell(one, 1, TRUE));
      expect(await told(owner)).toContain("waiting train 0.0 undecided");
    } finally {
      vi.useRealTimers();
    }
  },
);

test("a token that the run has not issued opens nothing, whoever signed it", async () => {
  const owner = await startScripted();
  const { token } = await owner.stranger("first");
  const [, run, id] = token.split(".");
  const unissued = id!.replace(/-1$/, "-2");
  expect(unissued).not.toBe(id);
  const expiresMs = Date.now() + 60_000;
  const env = bindings as unknown as Env;
  const signed = await joinToken(env, run!, { id: unissued, expiresMs });
  const stranger = clientOf(worker, signed).run(run!);
  for (const call of [
    () => stranger.status(),
    () => stranger.lease(owner.identity),
  ])
    await expect(call()).rejects.toMatchObject({ code: "unauthorized" });
});

test("what comes after a push that is void has a place of its own beside those that stay", async () => {
  const owner = await startScripted({ steps: 1 });
  const [first, honest, last] = [
    await owner.stranger("first"),
    await owner.stranger("honest"),
    await owner.stranger("last"),
  ] as const;
  await present(first, honest, last);
  await first.pushFor(await leaseOf(first, 0), FALSE);
  await honest.pushFor(await leaseOf(honest, 0), TRUE);
  await owner.run.setTokenState(idOf(first), "revoked");
  await last.pushFor(await leaseOf(last, 0), FALSE + 1);
  await tell(honest, 0, TRUE);
  await owner.reach(1);
  await expectTrue(owner);
});
