/**
 * What the dashboard draws and reads out over seconds, tokens and steps stands where the runs' own metrics say: of a run
 * that was paused for a while, and of one that went on from its state.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { StepMetrics } from "../../src/api/run-metrics.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { figure } from "../../src/pages/shell/format.ts";
import { isBrowserExpected, launchBrowser } from "../support/browser.ts";
import { DESK } from "../support/page-faults.ts";
import { tinyRun } from "../support/tiny-run.ts";

const PATIENCE_MS = 120_000;
const PAUSE_MS = 3_000;
const [PAUSED_AT, STEPS, MORE] = [6, 60, 80];

let folder: string;
let edge: Running;
let api: Client;
let chromium: Browser;
let page: Page;

const until = (run: string, step: number) =>
  vi.waitFor(
    async () => {
      const told = await api.run(run).status();
      expect(told.step).toBeGreaterThanOrEqual(step);
      return told;
    },
    { timeout: PATIENCE_MS, interval: 50 },
  );

/** What a run has told when all of it is told: its last evaluation too. */
async function historyOf(run: string, steps: number): Promise<StepMetrics[]> {
  await vi.waitFor(
    async () => expect((await api.run(run).status()).state).toBe("finished"),
    { timeout: PATIENCE_MS, interval: 100 },
  );
  const metrics = await api.run(run).metrics();
  expect(metrics.at(-1)!.step).toBe(steps);
  return metrics;
}

/** Each canvas keeps the corners of the lines that it has drawn since it was wiped. */
const RECORD = `{
  const corners = new WeakMap();
  for (const name of ["moveTo", "lineTo"]) {
    const own = Path2D.prototype[name];
    Path2D.prototype[name] = function (x, y) {
      if (!corners.has(this)) corners.set(this, []);
      corners.get(this).push([x, y]);
      return own.call(this, x, y);
    };
  }
  const { stroke, clearRect } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.clearRect = function (...rest) {
    this.canvas.lines = [];
    return clearRect.apply(this, rest);
  };
  CanvasRenderingContext2D.prototype.stroke = function (path) {
    if (path && this.lineWidth === 2) this.canvas.lines.push(corners.get(path) ?? []);
    return path ? stroke.call(this, path) : stroke.call(this);
  };
}`;

const AXES = {
  step: ({ step }: StepMetrics) => step,
  tokens: ({ tokens }: StepMetrics) => tokens,
  time: ({ committedMs }: StepMetrics, first: StepMetrics) =>
    (committedMs - first.committedMs) / 1000,
};

describe.skipIf(!isBrowserExpected)("over what curves are drawn", () => {
  const runs: Record<string, StepMetrics[]> = {};

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "mxfp4-times-test-"));
    const stateFolder = join(folder, "state");
    [edge, chromium] = await Promise.all([
      startEdge({ stateFolder, quiet: true, pages: true }),
      launchBrowser(),
    ]);
    api = new Client({ baseUrl: edge.url });
    await api.putDataset("text", readFileSync(mobyDick()).subarray(0, 20_000));
    const paused = api.run("paused");
    const evaluation = { interval: 5, microbatches: 1 };
    await api.createRun(tinyRun("paused", { steps: STEPS, evaluation }));
    await paused.addTrainers(1);
    await until("paused", PAUSED_AT);
    await paused.setState("paused");
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    await paused.setState("running");
    runs["paused"] = await historyOf("paused", STEPS);
    const state = await fetch(
      `${edge.url}/v1/runs/paused/checkpoint?state=full`,
    );
    const put = await fetch(`${edge.url}/v1/files/state/model.safetensors`, {
      method: "PUT",
      body: await state.arrayBuffer(),
    });
    expect(put.status).toBe(201);
    await api.createRun({
      run: "resumed",
      dataset: "text",
      from: "state",
      resume: true,
      steps: MORE,
    });
    await api.run("resumed").addTrainers(1);
    runs["resumed"] = await historyOf("resumed", MORE);
    const context = await chromium.newContext({ viewport: DESK });
    context.setDefaultTimeout(PATIENCE_MS);
    await context.addInitScript(RECORD);
    page = await context.newPage();
  }, PATIENCE_MS);

  afterAll(async () => {
    await chromium?.close();
    await edge?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("the pause is in the paused run's times, and the resumed run begins behind it", () => {
    const times = runs["paused"]!.map(({ committedMs }) => committedMs);
    const gaps = times.slice(1).map((time, i) => time - times[i]!);
    expect(Math.max(...gaps)).toBeGreaterThan(PAUSE_MS / 2);
    expect(runs["resumed"]![0]!.step).toBe(STEPS);
  });

  test.each(["time", "tokens", "step"] as const)("%s", async (axis) => {
    const names = Object.keys(runs);
    await page.goto(`${edge.url}/?runs=${names.join()}&x=${axis}&smooth=0`);
    const places = names.map((name) =>
      runs[name]!.map((each) => AXES[axis](each, runs[name]![0]!)),
    );
    const from = Math.min(...places.map((all) => all[0]!));
    const to = Math.max(...places.map((all) => all.at(-1)!));
    for (const [i, figureName] of ["trainLoss", "valLoss"].entries()) {
      const chart = page.locator(".chart").nth(i);
      await expect
        .poll(() => chart.locator(".key").allInnerTexts())
        .toEqual(
          names.map((name) => {
            const values = valuesOf(name, figureName);
            return `${name} ${figure(values.findLast((v) => v !== null))}`;
          }),
        );
      const over = chart.locator(".u-over");
      await over.scrollIntoViewIfNeeded();
      const box = (await over.boundingBox())!;
      const canvas = (await chart.locator("canvas").boundingBox())!;
      const pixelOf = (place: number) =>
        box.x - canvas.x + ((place - from) / (to - from)) * box.width;

      // What is drawn: each value at its place, and at a height that is a straight line's of it.
      const lines = await page.evaluate<[number, number][][]>(
        `document.querySelectorAll(".chart canvas")[${i}].lines`,
      );
      expect(lines).toHaveLength(names.length);
      const points = names.flatMap((name, run) =>
        valuesOf(name, figureName).flatMap((value, at) =>
          value === null ? [] : [{ run, value, x: pixelOf(places[run]![at]!) }],
        ),
      );
      const drawn = lines.flatMap((line, run) =>
        line.map(([x, y]) => ({ run, x, y })),
      );
      const high = drawn.map(({ y }) => y);
      const values = points.map(({ value }) => value);
      const [top, bottom] = [Math.min(...high), Math.max(...high)];
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const yOf = (value: number) =>
        bottom - ((value - least) / (most - least)) * (bottom - top);
      const isAt = (
        point: (typeof points)[number],
        corner: (typeof drawn)[number],
      ) =>
        point.run === corner.run &&
        Math.abs(point.x - corner.x) <= 1 &&
        Math.abs(yOf(point.value) - corner.y) <= 1.5;
      const undrawn = points.filter(
        (point) => !drawn.some((corner) => isAt(point, corner)),
      );
      const untold = drawn.filter(
        (corner) => !points.some((point) => isAt(point, corner)),
      );
      expect([undrawn, untold]).toEqual([[], []]);

      // What is read: of each run the last value before the mouse, and nothing where it has none.
      let looks = 0;
      for (let share = 0.02; share < 1; share += 0.06) {
        const left = Math.round(share * box.width);
        await page.mouse.move(box.x + left, box.y + box.height / 2);
        const place = from + (left / box.width) * (to - from);
        const x = axis === "time" ? place : Math.floor(place);
        // Between two places there may be none, where a pixel is more than what parts them.
        const near = ((to - from) / box.width) * 1.01;
        if (places.flat().some((each) => Math.abs(each - place) < near))
          continue;
        looks++;
        const expected = names.map((name, run) => {
          const own = places[run]!;
          const values = valuesOf(name, figureName);
          const at = own.findLastIndex(
            (each, i) => each <= x && values[i] !== null,
          );
          const has = at >= 0 && x <= own.at(-1)!;
          return has
            ? `${name} ${figure(values[at])} (${figure(values[at])})`
            : `${name} –`;
        });
        await expect
          .poll(() => chart.locator(".key").allInnerTexts())
          .toEqual(expected);
        const shown = await chart.locator(".reading .quiet").innerText();
        const read = Number(shown.replace(/^\D+/, "").replaceAll(",", ""));
        expect(Math.abs(read - x)).toBeLessThan(
          near + (axis === "time" ? 1e-3 * x : 1),
        );
      }
      expect(looks).toBeGreaterThan(4);
    }
  });

  const valuesOf = (name: string, which: string) =>
    runs[name]!.map((each) =>
      which === "valLoss" ? each.valLoss : each.trainLoss,
    );
});
