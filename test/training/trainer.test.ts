/** The loop against a service in memory. */
import { expect, test, vi } from "vitest";
import { AppError, type ErrorCode } from "../../src/api/errors.ts";
import { decodeFrame, encodeFrame, frameBytes } from "../../src/api/frame.ts";
import type {
  Completion,
  Lease,
  LeaseResponse,
  Phases,
  PullOptions,
} from "../../src/api/lease.ts";
import type { WireDtype } from "../../src/api/run-config.ts";
import type { RunStatus } from "../../src/api/run-status.ts";
import { encodeBf16 } from "../../src/kernels/vector.ts";
import { initialParameters } from "../../src/model/parameters.ts";
import { parameterTable } from "../support/model.ts";
import { completeConfig } from "../../src/training/config.ts";
import { runRequestSchema } from "../../src/training/run-request.ts";
import { joinRun } from "../../src/training/joined-trainer.ts";
import {
  MAX_HOSTED_BYTES,
  trainerBytes,
  trainerMemory,
} from "../../src/training/memory.ts";
import type { TrainingService } from "../../src/training/service.ts";
import { shardRanges } from "../../src/training/sharding.ts";
import { LinkPace } from "../../src/training/link-pace.ts";
import { RunTrainer, type TrainerAccount } from "../../src/training/trainer.ts";
import { arena } from "../support/kernels.ts";
import { corpus, TINY } from "../support/run.ts";

const config = completeConfig(
  runRequestSchema().parse({
    ...TINY,
    dataset: "text",
    recipe: "bf16",
    shards: 2,
  }),
  {
    name: "text",
    digest: "",
    tokens: 4096,
    tokenizer: "byte",
    vocabulary: 256,
  },
);
const table = parameterTable(config.model);
const shards = shardRanges(table, 2);
const ACCOUNT: TrainerAccount = { begin: () => Promise.resolve(), end() {} };
const identity = { trainer: "one", bootId: "a", fingerprint: "test" };

const train = (step: number, index: number): Lease => ({
  kind: "train",
  step,
  index,
  deadlineMs: 0,
  key: "a:key",
});

/** Gives these leases one after the other, then says that the run has finished. */
function serviceOf(leases: Lease[], refusals: Record<string, ErrorCode> = {}) {
  const calls: string[] = [];
  const pushed: string[] = [];
  const phases: Phases[] = [];
  const next = (): LeaseResponse => {
    const lease = leases.shift() ?? null;
    return { state: lease ? "running" : "finished", lease };
  };
  const note = (call: string): void => {
    calls.push(call);
    const code = refusals[call];
    if (code) throw new AppError(code, "Expected otherwise");
  };
  const service: TrainingService = {
    status: () =>
      Promise.resolve({
        config,
        shards,
        parameters: table.length,
      } as unknown as RunStatus),
    async lease() {
      note("lease");
      return Promise.resolve(next());
    },
    async complete({ kind, step, index }, completion) {
      const { tokens, lossSum, digests } = completion;
      phases.push(completion.phases!);
      // Those of what was pushed to each shard, for it alone.
      expect(digests).toEqual(kind === "train" ? pushed.splice(0) : undefined);
      note(`complete ${kind} ${step} ${index}`);
      expect(tokens).toBe(64);
      expect(lossSum! / tokens).toBeCloseTo(Math.log(256), 0);
      return Promise.resolve({ ...next(), duplicate: false });
    },
    async pull(shard, step) {
      note(`pull ${shard} ${step}`);
      const { start, length } = shards[shard]!;
      const bits = arena.scope(() => {
        const values = initialParameters(table, 1, start, length);
        const out = arena.alloc(2 * length);
        encodeBf16(out, arena.copyIn(values), length);
        return arena.u8(out, 2 * length).slice();
      });
      return decodeFrame(
        await encodeFrame(
          {
            kind: "parameters",
            dtype: "bf16",
            step,
            microbatch: 0,
            start,
            length,
          },
          bits,
        ),
      );
    },
    async push(shard, { step, index: microbatch, key }, frame) {
      note(`push ${shard} ${step} ${microbatch}`);
      expect(key).toBe("a:key");
      const decoded = await decodeFrame(frame);
      pushed[shard] = decoded.digest;
      expect(decoded).toMatchObject({
        kind: "gradient",
        dtype: "mxfp4",
        step,
        microbatch,
        start: shards[shard]!.start,
      });
    },
    tokens: (_dataset, start, length) =>
      Promise.resolve(corpus().subarray(start, start + length)),
    tokenizer: () => Promise.reject(new Error("tokens are bytes")),
  };
  return { service, calls, phases };
}

test("a lease is pulled, pushed to every shard, then completed, which brings the next; a step is pulled once", async () => {
  const { service, calls } = serviceOf([
    train(0, 0),
    { ...train(0, 1), kind: "eval" },
    train(1, 0),
  ]);
  const trainer = new RunTrainer(service, identity);
  expect(await trainer.train()).toBe("ended");
  expect(trainer.state).toBe("finished");
  expect(calls).toEqual([
    "lease",
    "pull 0 0",
    "pull 1 0",
    "push 0 0 0",
    "push 1 0 0",
    "complete train 0 0",
    "complete eval 0 1",
    "pull 0 1",
    "pull 1 1",
    "push 0 1 0",
    "push 1 1 0",
    "complete train 1 0",
  ]);
});

test.each([
  ["of the step's last microbatch", config.microbatches - 1, undefined, [1]],
  ["of an earlier one, and gets no other", 0, null, [1]],
  ["of an earlier one", 0, undefined, []],
] as const)(
  "who completes a lease %s asks ahead for the next step, once",
  async (_what, index, lease, expected) => {
    const { service, calls } = serviceOf([train(0, index), train(1, 0)]);
    const ahead: number[] = [];
    const bound = {
      ...service,
      async complete(of: Lease, completion: Completion) {
        const answer = await service.complete(of, completion);
        if (lease === undefined || of.step > 0) return answer;
        const next = answer.lease!;
        bound.lease = () => Promise.resolve({ state: "running", lease: next });
        return { ...answer, lease };
      },
      pull(...asked: Parameters<TrainingService["pull"]>) {
        const [shard, step, { waitMs } = {}] = asked;
        if (waitMs !== undefined && shard === 0) ahead.push(step);
        return service.pull(...asked);
      },
    };
    expect(await new RunTrainer(bound, identity).train()).toBe("ended");
    expect(ahead).toEqual(expected);
    const pulls = calls.filter((call) => call.startsWith("pull"));
    expect(pulls).toEqual(["pull 0 0", "pull 1 0", "pull 0 1", "pull 1 1"]);
  },
);

test("what was asked for ahead in vain is asked for again; a hosted trainer does not", async () => {
  for (const [account, attempts] of [
    [undefined, 2],
    [ACCOUNT, 1],
  ] as const) {
    const last = train(0, config.microbatches - 1);
    const { service } = serviceOf([last, train(1, 0)]);
    const asked: number[] = [];
    const bound = {
      ...service,
      async pull(shard: number, step: number, { waitMs }: PullOptions = {}) {
        asked.push(step);
        if (waitMs !== undefined) throw new AppError("step_gone", "gone");
        return service.pull(shard, step);
      },
    };
    const trainer = new RunTrainer(bound, identity, { account });
    expect(await trainer.train()).toBe("ended");
    expect(asked.filter((step) => step === 1)).toHaveLength(2 * attempts);
  }
});

test("a step is pulled again when the run has gone back meanwhile", async () => {
  const again = { ...train(0, 1), rewinds: 1 };
  const { service, calls } = serviceOf([train(0, 0), again, again]);
  await new RunTrainer(service, identity).train();
  expect(calls.filter((call) => call.startsWith("pull"))).toEqual([
    "pull 0 0",
    "pull 1 0",
    "pull 0 0",
    "pull 1 0",
  ]);
});

test("tells of each microbatch how long its phases took, and the bytes of its frames", async () => {
  const { service, phases } = serviceOf([
    train(0, 0),
    { ...train(0, 1), kind: "eval" },
    train(1, 0),
  ]);
  await new RunTrainer(service, identity).train();
  const bytes = (dtype: WireDtype) =>
    shards.reduce((sum, { length }) => sum + frameBytes(dtype, length), 0);
  const [pulled, pushed] = [bytes("bf16"), bytes("mxfp4")];
  expect(
    phases.map(({ pulledBytes, pushedBytes }) => [pulledBytes, pushedBytes]),
  ).toEqual([
    [pulled, pushed],
    [0, 0],
    [pulled, pushed],
  ]);
  for (const { leaseMs, pullMs, computeMs, pushMs } of phases)
    for (const ms of [leaseMs, pullMs, computeMs, pushMs])
      expect(ms).toBeGreaterThanOrEqual(0);
  // A pass over 64 tokens is more than a clock's tick.
  const computed = phases.reduce((sum, { computeMs }) => sum + computeMs, 0);
  expect(computed).toBeGreaterThan(0);
});

test.each([
  ["slow", 200, 1e6, undefined, [[], ["0 0", "1 0"], [], ["0 3", "1 3"]]],
  ["fast", 199, 1e6, undefined, [[], [], [], []]],
  ["one that told nothing", 200, 65_000, undefined, [[], [], [], []]],
  ["slow, in an edge's isolate", 200, 1e6, ACCOUNT, [[], [], [], []]],
] as const)(
  "differences are asked for where the link is %s",
  async (_what, ms, bytes, account, expected) => {
    // Of the steps 0, 1, 3 and 4: one that was not pulled is nobody's base.
    const { service } = serviceOf([0, 1, 3, 4].map((step) => train(step, 0)));
    const asked = new Map<number, string[]>();
    const pulls = {
      ...service,
      async pull(shard: number, step: number, { base }: PullOptions = {}) {
        const has = asked.get(step) ?? [];
        asked.set(step, base ? [...has, `${shard} ${base.step}`] : has);
        // Two shards' come side by side: 2 MB in 200 ms are 10 MB/s.
        const travelled = { bytes, ms: ms + shard };
        return { ...(await service.pull(shard, step)), travelled };
      },
    };
    await new RunTrainer(pulls, identity, { account }).train();
    expect([...asked.values()]).toEqual(expected);
  },
);

test("a link is slow by what came last, and no longer once so little comes that it tells nothing", () => {
  const link = new LinkPace();
  const after = (bytes: number, ms: number) => {
    link.measured([{ bytes, ms }]);
    return link.isSlow;
  };
  expect([after(1e6, 101), after(1e6, 99), after(2e5, 21)]).toEqual([
    true,
    false,
    true,
  ]);
  for (let each = 1; each < 16; each++) expect(after(1e5, 1)).toBe(true);
  expect(after(1e5, 1)).toBe(false);
});

test.each([
  ["pull 1 0", "step_gone"],
  ["push 0 0 0", "run_ended"],
  ["complete train 0 0", "step_gone"],
  ["push 0 0 0", "different_bytes"],
  ["push 0 0 0", "no_lease"],
  ["complete train 0 0", "different_completion"],
] as const)(
  "a lease that is refused at `%s` with %s is left for another",
  async (call, code) => {
    const { service, calls } = serviceOf([train(0, 0), train(1, 0)], {
      [call]: code,
    });
    expect(await new RunTrainer(service, identity).train()).toBe("ended");
    expect(calls.filter((each) => each === "lease")).toHaveLength(2);
    expect(calls).toContain("complete train 1 0");
  },
);

test("a refusal that says more than that ends the loop", async () => {
  const { service } = serviceOf([train(0, 0)], {
    "push 0 0 0": "forbidden",
  });
  await expect(new RunTrainer(service, identity).train()).rejects.toMatchObject(
    { code: "forbidden" },
  );
});

test("a signal or a spent budget stops it between leases, and it goes on with the lease it has", async () => {
  const { service, calls } = serviceOf([train(0, 0), train(0, 1)]);
  const stop = new AbortController();
  const trainer = new RunTrainer(
    {
      ...service,
      complete(lease, completion) {
        stop.abort();
        return service.complete(lease, completion);
      },
    },
    identity,
  );
  expect(await trainer.train({ budgetMs: 0 })).toBe("out-of-budget");
  expect(calls).toEqual([]);
  expect(await trainer.train({ signal: stop.signal })).toBe("stopped");
  expect(await trainer.train()).toBe("ended");
  expect(calls.filter((call) => call === "lease")).toHaveLength(1);
  expect(calls).toContain("complete train 0 1");
});

/** Gives the next of these leases, and the one after it ahead where that is asked for; pushes of microbatch 1 wait for `free`. */
function aheadOf(leases: Lease[], ...refusals: ErrorCode[]) {
  const { service, calls } = serviceOf([]);
  const { promise, resolve: free } = Promise.withResolvers<void>();
  const wishes: unknown[] = [];
  const next = (wish: boolean | undefined): LeaseResponse => {
    wishes.push(wish);
    const [lease = null, ahead] = leases;
    const state = lease ? "running" : "finished";
    return { state, lease, ...(wish && ahead && { ahead }) };
  };
  const bound: TrainingService = {
    ...service,
    async lease({ ahead }) {
      calls.push("lease");
      return Promise.resolve(next(ahead));
    },
    async push(shard, { step, index }, frame) {
      calls.push(`push ${shard} ${step} ${index}`);
      expect(await decodeFrame(frame)).toMatchObject({ microbatch: index });
      if (index !== 1) return;
      await promise;
      const refusal = shard === 0 && refusals.shift();
      if (refusal) throw new AppError(refusal, "Expected otherwise");
    },
    complete(lease, { ahead, phases }) {
      calls.push(`complete ${lease.index}`);
      for (const ms of Object.values(phases!))
        expect(ms).toBeGreaterThanOrEqual(0);
      leases = leases.filter(({ index }) => index !== lease.index);
      return Promise.resolve({ ...next(ahead), duplicate: false });
    },
  };
  return { service: bound, calls, wishes, free };
}

/** Notes when a microbatch has room, and when nothing needs it any more. */
function accountIn(calls: string[]): TrainerAccount {
  return {
    begin: () => Promise.resolve(void calls.push("begin")),
    end: () => void calls.push("end"),
  };
}

const FOUR = [0, 1, 2, 3].map((index) => train(0, index));

test("who has a lease ahead computes it while what came of the last is on its way, and no third", async () => {
  const { service, calls, wishes, free } = aheadOf(FOUR);
  const done: number[] = [];
  const trainer = new RunTrainer(service, identity, {
    account: accountIn(calls),
  });
  const trained = trainer.train({
    onCompleted: ({ index }) => done.push(index),
  });
  const begun = () => calls.filter((call) => call === "begin").length;
  await vi.waitFor(() => expect(begun()).toBe(3));
  // Time in which more would come.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(calls.slice(calls.indexOf("complete 0"))).toEqual([
    "complete 0",
    "begin",
    "push 0 0 1",
    "push 1 0 1",
    "begin",
  ]);
  free();
  expect(await trained).toBe("ended");
  expect(done).toEqual([0, 1, 2, 3]);
  expect(calls.slice(calls.indexOf("complete 1"))).toEqual([
    "complete 1",
    "push 0 0 2",
    "push 1 0 2",
    "complete 2",
    "begin",
    "push 0 0 3",
    "push 1 0 3",
    "complete 3",
    "end",
  ]);
  // What room a run's gradients take is known from its first microbatch on.
  expect(wishes).toEqual([undefined, true, true, true, true]);
});

test.each([
  ["gets turns amid the next microbatch, until it is there", true],
  ["gets none where others must not compute amid it", false],
])("what is on its way %s", async (_what, takesTurns) => {
  const { service, calls } = aheadOf(FOUR);
  const turn = async (): Promise<void> => {
    calls.push("turn");
    await new Promise((resolve) => setTimeout(resolve, 0));
  };
  // As sockets are, it is served when the thread computes nothing: twice, besides the turn before.
  const served = { ...service, push };
  async function push(shard: number, { index }: Lease): Promise<void> {
    calls.push(`push ${shard} ${index}`);
    if (index !== 1) return;
    for (let times = 0; times < 3; times++)
      await new Promise((resolve) => setTimeout(resolve, 0));
    calls.push(`pushed ${shard}`);
  }
  const trainer = new RunTrainer(served, identity, {
    account: accountIn(calls),
    ...(takesTurns && { turn }),
  });
  expect(await trainer.train()).toBe("ended");
  const begun = calls.indexOf("begin", calls.indexOf("push 1 1"));
  expect(calls.slice(begun, calls.indexOf("push 0 2") + 1)).toEqual([
    "begin",
    ...(takesTurns ? ["turn", "turn"] : []),
    "pushed 0",
    "pushed 1",
    "complete 1",
    "push 0 2",
  ]);
});

test("what is let go amid a microbatch goes when that is over", async () => {
  const { service } = aheadOf(FOUR);
  const released: string[] = [];
  let turns = 0;
  let amid: number | undefined;
  const pulls: TrainingService = {
    ...service,
    push: () => new Promise((resolve) => setTimeout(resolve, 5)),
    async pull(shard, step) {
      const frame = await service.pull(shard, step);
      return { ...frame, release: () => released.push(`${shard} ${step}`) };
    },
  };
  const trainer: RunTrainer = new RunTrainer(pulls, identity, {
    turn: () => Promise.resolve(letGoOnce()),
  });
  const letGoOnce = (): void => {
    // The first comes before the microbatch.
    if (++turns !== 2) return;
    trainer.letGo();
    amid = released.length;
  };
  expect(await trainer.train()).toBe("ended");
  expect(amid).toBe(0);
  // Pulled again for the next microbatch.
  expect(released).toEqual(["0 0", "1 0", "0 0", "1 0"]);
});

test("a gradient that is refused on its way is left, with the leases at hand", async () => {
  const { service, calls, free } = aheadOf(FOUR, "no_lease");
  free();
  const trainer = new RunTrainer(service, identity, {
    account: accountIn(calls),
  });
  expect(await trainer.train()).toBe("ended");
  const refused = calls.lastIndexOf("push 1 0 1", calls.indexOf("push 0 0 2"));
  expect(calls.slice(refused + 1)).toEqual([
    "begin",
    "push 0 0 2",
    "push 1 0 2",
    "complete 2",
    "begin",
    "push 0 0 1",
    "push 1 0 1",
    "complete 1",
    "begin",
    "push 0 0 3",
    "push 1 0 3",
    "complete 3",
    "end",
  ]);
});

test("what fails for good on its way ends the loop; the next one asks anew, and computes it again", async () => {
  const { service, calls, free } = aheadOf(FOUR, "unavailable", "unavailable");
  free();
  const trainer = new RunTrainer(service, identity, {
    account: accountIn(calls),
  });
  await expect(trainer.train()).rejects.toMatchObject({ code: "unavailable" });
  expect(calls.at(-1)).toBe("end");
  expect(calls).not.toContain("push 0 0 2");
  const before = calls.length;
  await expect(trainer.train()).rejects.toMatchObject({ code: "unavailable" });
  expect(calls.slice(before)).toContain("lease");
  expect(calls.slice(before)).toContain("push 0 0 1");
});

test("what fails while a lease ahead is at hand lets go of it too: the run is asked anew, and gives them in its order", async () => {
  const { service, calls, free } = aheadOf(FOUR);
  free();
  let begun = 0;
  const account: TrainerAccount = {
    ...accountIn(calls),
    begin() {
      calls.push("begin");
      // The second has a third at hand.
      if (++begun !== 2) return Promise.resolve();
      return Promise.reject(new AppError("unavailable", "Expected room"));
    },
  };
  const trainer = new RunTrainer(service, identity, { account });
  await expect(trainer.train()).rejects.toMatchObject({ code: "unavailable" });
  const before = calls.length;
  expect(await trainer.train()).toBe("ended");
  expect(calls.slice(before, before + 3)).toEqual([
    "lease",
    "begin",
    "push 0 0 1",
  ]);
  const completed = calls.filter((call) => call.startsWith("complete"));
  expect(completed).toEqual([
    "complete 0",
    "complete 1",
    "complete 2",
    "complete 3",
  ]);
});

test("out of budget something may be on its way; at rest it is not, and the lease at hand is kept", async () => {
  const { service, calls, free } = aheadOf(FOUR);
  const trainer = new RunTrainer(service, identity, {
    account: accountIn(calls),
  });
  while (!calls.includes("push 1 0 1")) await trainer.train({ budgetMs: 1 });
  expect(calls).not.toContain("complete 1");
  let isAtRest = false;
  const rest = trainer.rest().then(() => (isAtRest = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isAtRest).toBe(false);
  free();
  await rest;
  expect(calls.at(-2)).toBe("complete 1");
  expect(calls.at(-1)).toBe("end");
  expect(await trainer.train()).toBe("ended");
  expect(calls.filter((call) => call === "lease")).toHaveLength(1);
});

test("a joined trainer waits the longer the more has failed in a row", async () => {
  const { service } = serviceOf([train(0, 0), train(1, 0)]);
  let leases = 0;
  const pauses: number[] = [];
  const troubled: TrainingService = {
    ...service,
    lease: (request) =>
      ++leases <= 2
        ? Promise.reject(new Error("Expected an answer"))
        : service.lease(request),
    pull: (shard, step) =>
      step === 1
        ? Promise.reject(new Error("Expected an answer"))
        : service.pull(shard, step),
  };
  const outcome = await joinRun(troubled, identity, {
    signal: new AbortController().signal,
    onCompleted() {},
    onTrouble() {},
    pause: async (failures) => void pauses.push(failures),
    leave: () => Promise.resolve(),
    turn: () => Promise.resolve(),
    memoryBytes: MAX_HOSTED_BYTES,
  });
  expect(outcome).toBe("ended");
  expect(pauses).toEqual([0, 1, 0]);
});

const WANTED = trainerBytes(trainerMemory(config, Infinity));

test.each([
  [WANTED, true],
  [WANTED - 1, undefined],
])(
  "a joined trainer with %d bytes asks for a lease ahead: %s",
  async (memoryBytes, isAhead) => {
    const { service, wishes, free } = aheadOf(FOUR);
    free();
    await joinRun(service, identity, {
      signal: new AbortController().signal,
      onCompleted() {},
      onTrouble: (text) => expect.unreachable(text),
      pause: () => Promise.resolve(),
      leave: () => Promise.resolve(),
      turn: () => Promise.resolve(),
      memoryBytes,
    });
    expect(wishes).toEqual([undefined, ...Array(4).fill(isAhead)]);
  },
);

test("of a step that one shard refuses, the frames of the others are let go", async () => {
  const { service } = serviceOf([train(0, 0)]);
  const released: number[] = [];
  const half: TrainingService = {
    ...service,
    pull: async (shard, step) => {
      if (shard === 0) throw new AppError("step_gone", "Expected a later step");
      const frame = await service.pull(shard, step);
      return { ...frame, release: () => released.push(shard) };
    },
  };
  expect(await new RunTrainer(half, identity).train()).toBe("ended");
  expect(released).toEqual([1]);
});
