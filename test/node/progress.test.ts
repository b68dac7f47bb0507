/** What a command says of a run as it goes, on a terminal and elsewhere. */
import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import type { Dataset } from "../../src/api/dataset.ts";
import type { RunEvent, StepMetrics } from "../../src/api/run-metrics.ts";
import { Bar } from "../../src/cli/bar.ts";
import { LiveCurve } from "../../src/cli/live-curve.ts";
import { Progress } from "../../src/cli/progress.ts";
import { timeSpent } from "../../src/cli/time-spent.ts";

test.each([
  [80, /^quantize █{15}░{15} 50 % {2}\S+ \S+\/s$/],
  [0, /^quantize █{15}░{15} 50 % {2}\S+ \S+\/s$/],
  [40, /^(?=.{39}$)quantize █+░+ 50 % {2}\S+ \S+\/s$/],
  [15, /^quantize 50 % $/],
])("a bar on a terminal of %i columns does not wrap", (columns, expected) => {
  let output = "";
  const out = {
    isTTY: true,
    columns,
    write: (part: string) => Boolean((output += part)),
  };
  const bar = new Bar("quantize", out);
  bar.begin(2);
  bar.add(1);
  expect(output.replace("\r\u001b[2K", "")).toMatch(expected);
});

describe("progress", () => {
  const metrics = (step: number): StepMetrics => ({
    step,
    trainLoss: 3.25,
    gradNorm: 1,
    learningRate: 1e-3,
    tokens: (step + 1) * 100,
    valLoss: null,
    committedMs: 1000 + step * 50,
    trainNatsPerByte: 3.25,
    valNatsPerByte: null,
    results: null,
    chain: null,
    phases: {
      leaseMs: 10,
      pullMs: 20,
      computeMs: 150,
      pushMs: 20,
      commitMs: step === 0 ? null : 8,
      pulledBytes: 3_000_000,
      pushedBytes: 1_250_000,
    },
  });
  const events = (steps: number): RunEvent[] =>
    Array.from({ length: steps }, (_, step) => ({
      id: step,
      timeMs: 0,
      type: "step",
      metrics: metrics(step),
    }));

  function written(
    isTTY: boolean,
    steps: number,
    above?: () => string[],
  ): string {
    let output = "";
    const progress = new Progress(
      { isTTY, columns: 100, write: (part) => Boolean((output += part)) },
      steps,
      above,
    );
    for (const event of events(steps)) progress.event(event);
    return output;
  }

  test("is a line now and then where there is no terminal", () => {
    const lines = written(false, 400).trimEnd().split("\n");
    expect(lines.length).toBe(40);
    // 100 tokens in 50 ms; 20 steps from the end, 2,000 tokens are left.
    expect(lines.at(-3)).toBe(
      "step 380/400  loss 3.2500  val loss -  2000 tokens/s  ETA 0:01",
    );
  });

  test.each([false, true])(
    "tells at the last step, on a terminal (%s) too, that an evaluation follows",
    (isTTY) => {
      for (const steps of [1, 7, 401])
        expect(stripVTControlCharacters(written(isTTY, steps))).toMatch(
          new RegExp(
            `step ${steps}/${steps} .*evaluating on the held-out text\\s*$`,
          ),
        );
      expect(written(isTTY, 401).match(/evaluating/g)).toHaveLength(1);
      // However soon it comes after a step before it.
      expect(written(isTTY, 2, () => ["above"])).toContain("evaluating");
    },
  );

  test("of a dataset that takes its time is a line now and then where there is no terminal", () => {
    let output = "";
    const out = { write: (part: string) => Boolean((output += part)) };
    const progress = new Progress(out, 1);
    for (const done of [0, 0.04, 0.1, 0.15, 0.21, 0.5, 1])
      progress.dataset({
        name: "text",
        tokenizer: "bpe",
        state: done < 1 ? "training" : "ready",
        progress: done,
      } as Dataset);
    expect(output).toBe(
      [10, 21, 50]
        .map((percent) => `text: training its tokenizer  ${percent} %\n`)
        .join(""),
    );
  });

  test("tells losses by the byte too, where tokens are none", () => {
    let output = "";
    const out = { write: (part: string) => Boolean((output += part)) };
    const progress = new Progress(out, 1);
    const head = { id: 0, timeMs: 0 };
    const evaluation = { step: 0, valLoss: 4, tokens: 10, bytes: 25 };
    progress.event({
      ...head,
      type: "evaluation",
      ...evaluation,
      valNatsPerByte: 1.6,
    });
    const step = { ...metrics(0), trainLoss: 5, trainNatsPerByte: 2 };
    progress.event({ ...head, type: "step", metrics: step });
    expect(stripVTControlCharacters(output).split("\n")).toEqual([
      "step 0  val loss 4.0000 (1.6000 nats per byte)  over 10 held-out tokens of 25 bytes",
      "step 1/1  loss 5.0000 (2.0000)  val loss 4.0000 (1.6000)  evaluating on the held-out text",
      "",
    ]);
  });

  test.each([
    ["per byte where each has one", [2, 1.5, 1], "nats per byte", "2.00"],
    ["per token where one has none", [2, null, 1], "nats per token", "5.00"],
    [
      "and after an earlier release",
      [undefined, 1.5, 1],
      "nats per token",
      "5.00",
    ],
  ] as const)(
    "the curve tells its unit: %s",
    (_what, perByte, unit, highest) => {
      const curve = new LiveCurve();
      for (const [step, trainNatsPerByte] of perByte.entries()) {
        const told = {
          ...metrics(step),
          trainLoss: 5 - step,
          trainNatsPerByte,
        };
        const whole = told as StepMetrics;
        curve.event({ id: step + 1, timeMs: 0, type: "step", metrics: whole });
      }
      const lines = curve.lines();
      expect(lines[0]).toMatch(new RegExp(`^${highest} `));
      expect(lines.at(-1)).toMatch(new RegExp(`^ +step 0 +${unit} +2$`));
      expect(new Set(lines.map(({ length }) => length)).size).toBe(1);
    },
  );

  test("ends with where the time went, which a run before phases does not tell", () => {
    const steps = [metrics(0), metrics(1), { ...metrics(2), phases: null }];
    expect(timeSpent(steps)).toBe(
      "trainers' time: 75.0 % computing, 5.0 % waiting for leases, 10.0 % pulling, 10.0 % pushing; " +
        "a step: 8 ms to commit, 3.0 MB pulled, 1.3 MB pushed",
    );
    expect(timeSpent(steps.slice(2))).toBeUndefined();
  });

  test("has what it is given above that line, in place, until a line that stays", () => {
    let output = "";
    const out = {
      isTTY: true,
      columns: 20,
      write: (part: string) => Boolean((output += part)),
    };
    const progress = new Progress(out, 3, () => ["above", "below"]);
    for (const event of events(2)) progress.event(event);
    progress.line("over");
    // The second comes too soon after the first to be drawn.
    expect(output).toBe(
      `above\nbelow\nstep 1/3  loss 3.25\r\x1b[2K${"\x1b[1A\x1b[2K".repeat(2)}over\n`,
    );
  });

  test.each([
    [{ columns: 5, rows: 4 }, true],
    [{ columns: 5, rows: 3 }, false],
    [{ columns: 4, rows: 4 }, false],
  ])(
    "on a terminal of %o has what is above that line only where it can be cleared again: %s",
    (size, isShown) => {
      let output = "";
      const out = {
        isTTY: true,
        ...size,
        write: (part: string) => Boolean((output += part)),
      };
      const progress = new Progress(out, 1, () => ["wide", "low"]);
      progress.event(events(1)[0]!);
      expect(output.startsWith("wide\nlow\nste")).toBe(isShown);
      expect(output.startsWith("ste")).toBe(!isShown);
    },
  );

  test.each([
    [
      100,
      "step 380/400  loss 3.2500  val loss 4.0000 (1.6000)  2000 tokens/s  ETA 0:01",
    ],
    [70, "step 380/400  loss 3.2500  val loss 4.0000 (1.6000)  ETA 0:01"],
    [40, "step 380/400  loss 3.2500  ETA 0:01"],
    [30, "step 380/400  loss 3.2500"],
    [20, "step 380/400  loss "],
    [
      0,
      "step 380/400  loss 3.2500  val loss 4.0000 (1.6000)  2000 tokens/s  ETA 0:01",
    ],
  ])(
    "on a terminal of %i columns is without what matters least",
    (columns, line) => {
      let output = "";
      const out = {
        isTTY: true,
        columns,
        write: (part: string) => Boolean((output += part)),
      };
      const progress = new Progress(out, 400);
      const evaluation = { step: 0, valLoss: 4, tokens: 10, bytes: 25 };
      progress.event({
        id: 0,
        timeMs: 0,
        type: "evaluation",
        ...evaluation,
        valNatsPerByte: 1.6,
      });
      for (const event of events(380)) progress.event(event);
      expect(output.split("\r\u001b[2K").at(-1)).toBe(line);
    },
  );

  test("has what is above it stay, unless that would wrap", () => {
    const kept = (size: { isTTY: boolean; columns: number }): string => {
      let output = "";
      const out = {
        ...size,
        write: (part: string) => Boolean((output += part)),
      };
      new Progress(out, 1, () => ["wide", "low"]).keepAbove();
      return output;
    };
    expect(kept({ isTTY: true, columns: 5 })).toBe("wide\nlow\n");
    expect(kept({ isTTY: true, columns: 4 })).toBe("");
    expect(kept({ isTTY: false, columns: 4 })).toBe("wide\nlow\n");
  });

  test("is one line that changes on a terminal", () => {
    const output = written(true, 400);
    expect(output.split("\n").length).toBe(1);
    expect(output.split("\r\u001b[2K").length).toBe(400);
  });
});
