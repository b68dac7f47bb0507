/**
 * The dashboard in states that a first look does not show: runs that wait, were ended, or are gone, a token that is taken no
 * more, many runs, long names, the way back, a finger, and a system's own colours.
 */
import { readFileSync } from "node:fs";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunRequest } from "../../src/api/run-config.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { Client } from "../../src/client/client.ts";
import type { Running } from "../../src/local/edge.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { DESK, faultsOf } from "../support/page-faults.ts";
import {
  PATIENCE_MS,
  type PagesSite,
  startPages,
  trainTinyRun,
} from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

const TOKEN = "a-token-of-the-test";
const LONG = "a-run-whose-name-has-forty-signs-nowhere".replaceAll("-", "x");
/** More than the list shows at once. */
const MANY = 20;

let site: PagesSite;
let edge: Running;
let api: Client;
let said: string[];

/** Of a reader who is let in. */
function pageOf(options: BrowserContextOptions = {}): Promise<Page> {
  return site.open(TOKEN, options);
}

/** The browser tells of what was refused: that, by its status, is no fault. */
function forgive(status: number): void {
  const others = said.filter((line) => !line.includes(`${status}`));
  said.splice(0, said.length, ...others);
}

async function begin(run: string, more: Partial<RunRequest> = {}) {
  await api.createRun(tinyRun(run, more));
}

/** Clicks what is found by words. */
async function press(page: Page, name: string): Promise<void> {
  await page.getByRole("button", { name, exact: true }).click();
}

describe.skipIf(!isBrowserExpected)("the dashboard's states", () => {
  beforeAll(async () => {
    site = await startPages(TOKEN);
    ({ edge, said } = site);
    api = new Client({ baseUrl: edge.url, token: TOKEN });
    await api.putDataset("text", readFileSync(mobyDick()).subarray(0, 20_000));
    await trainTinyRun(api, "one");
    await trainTinyRun(api, LONG, {
      model: { arch: "llama", layers: 1, width: 64 },
    });
  });

  afterAll(async () => {
    await site?.close();
  });

  test("a run that waits for trainers, is paused, cancelled or has diverged says so, and what may help", async () => {
    await begin("waits");
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=waits`);
    const words = page.locator("#words");
    await words.filter({ hasText: "It waits for trainers: add one" }).waitFor();
    expect(await page.getByText("no values yet").count()).toBe(5);
    expect(await page.title()).toBe("waits, running at step 0: mxfp4-edge");
    expect(await faultsOf(page)).toEqual([]);
    // What the run has not told is not verified.
    await page.goto(`${edge.url}/replay?run=waits&step=1`);
    await press(page, "Replay");
    await page
      .getByText("the run has told of none of them, so none is verified")
      .waitFor();
    await page.goBack();
    // By the keyboard, which stays where it is.
    const focused = () =>
      page.evaluate<string>("document.activeElement.innerText.trim()");
    await page.getByRole("button", { name: "Pause" }).focus();
    await page.keyboard.press("Enter");
    await words.filter({ hasText: "until it is resumed" }).waitFor();
    await expect.poll(focused).toBe("Resume");
    // At once, whatever was listed before.
    const answer = await page.evaluate<string>(
      `fetch("/v1/runs", { headers: { Authorization: "Bearer ${TOKEN}" } }).then((told) => told.text())`,
    );
    await page.route("**/v1/runs", (route) => route.fulfill({ body: answer }));
    await press(page, "Cancel");
    await words.filter({ hasText: "ended early" }).waitFor();
    const line = page.locator(".runs li", { hasText: "waits" });
    await expect.poll(() => line.innerText()).toContain(", ended, ");
    await page.unroute("**/v1/runs");
    const rates = { learningRate: 1e6, matrixLearningRate: 1e6, clip: 1e6 };
    await trainTinyRun(api, "far", {
      recipe: "f32",
      gradientDtype: "f32",
      optimizer: { name: "adamw", ...rates },
    });
    await page.goto(`${edge.url}/?runs=far`);
    await words.filter({ hasText: "a lower learning rate" }).waitFor();
    await trainTinyRun(api, "short", { steps: 1 });
    await page.goto(`${edge.url}/?runs=short`);
    await page.getByText("Of the last step, summed").waitFor();
    await page.context().close();
  });

  test("a form that cannot start a run says why, and leaves the focus where it was", async () => {
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=one`);
    await page.locator("#new-run summary").click();
    const empty = { name: "empty.txt", mimeType: "text/plain" };
    const buffer = Buffer.alloc(0);
    await page.setInputFiles("input[name=file]", { ...empty, buffer });
    const start = page.getByRole("button", { name: "Start", exact: true });
    await start.focus();
    await page.keyboard.press("Enter");
    await page
      .getByText("Expected a text, got empty.txt, which is empty")
      .waitFor();
    expect(
      await page.evaluate<string>("document.activeElement.innerText.trim()"),
    ).toBe("Start");
    const { length } = await api.runs();
    await page.setInputFiles("input[name=file]", []);
    await page.getByLabel("Trainers here").fill("17");
    await start.click();
    expect(
      await page.evaluate("document.activeElement.validity.rangeOverflow"),
    ).toBe(true);
    expect(await api.runs()).toHaveLength(length);
    // Texts are told apart whose names have no letter that a dataset's may have.
    await page.getByLabel("Trainers here").fill("0");
    const texts = ["one text. ", "another text. ", "one text. "];
    for (const [i, text] of texts.entries()) {
      const buffer = Buffer.from(text.repeat(400));
      const book = { name: "📘.txt", mimeType: "text/plain", buffer };
      await page.setInputFiles("input[name=file]", book);
      await page.getByLabel("Id", { exact: true }).fill(`book-${i}`);
      await start.click();
      await page.getByRole("heading", { name: `book-${i}` }).waitFor();
      await page.locator("#new-run:not([open])").waitFor();
      await page.locator("#new-run summary").click();
    }
    const datasets = await Promise.all(
      texts.map(async (_, i) => {
        const { config } = await api.run(`book-${i}`).status();
        return config.dataset.name;
      }),
    );
    expect(datasets).toEqual(["text-2", "text-3", "text-2"]);
    await page.context().close();
    // The browser tells of names that were taken.
    forgive(409);
  });

  test("what is chosen is a step that back undoes, and its link shows the same: units, zoom, scale", async () => {
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=one`);
    await press(page, LONG);
    await page.getByRole("heading", { name: LONG }).waitFor();
    await page.getByLabel("Lay one over the others").check();
    await expect.poll(() => page.url()).toContain(`?runs=${LONG},one`);
    await page.getByLabel("Log scale").check();
    await page.goBack();
    await expect.poll(() => page.url()).toBe(`${edge.url}/?runs=${LONG}`);
    await page.goBack();
    await page.getByRole("heading", { name: "one", exact: true }).waitFor();
    await page.goForward();
    await page.goForward();
    await page.getByRole("heading", { name: LONG }).waitFor();
    const log = page.getByLabel("Log scale");
    await expect.poll(() => log.isChecked()).toBe(true);
    await page.getByLabel("Losses by the").selectOption("byte");
    const chart = page.getByRole("group", { name: /^Training loss/ });
    const told = page.getByRole("group", {
      name: new RegExp(`^Training loss, nats per byte, over step: ${LONG} \\d`),
    });
    // What has no values yet has nothing to zoom.
    await told.waitFor();
    await chart.focus();
    await page.keyboard.press("+");
    await expect
      .poll(() => new URL(page.url()).search)
      .toMatch(/&log=1&loss=byte&zoom=2\.\.6$/);
    const link = page.url();
    await page.getByText("The latest values").click();
    const values = page.getByRole("region", { name: "Latest values" });
    expect(await values.locator("thead").innerText()).toMatch(
      /^Step\s+Training loss, nats per byte\s+Validation loss, nats per byte\s+/,
    );
    await page.getByText("What happened").click();
    const evaluation = page.locator(".news li", { hasText: "validation" });
    expect(await evaluation.first().innerText()).toMatch(
      /validation loss [\d.]+ nats per token at step \d+$/,
    );
    const label = await chart.getAttribute("aria-label");
    await page.goto("about:blank");
    await page.goto(link);
    await told.waitFor();
    expect(await chart.getAttribute("aria-label")).toBe(label);
    expect(page.url()).toBe(link);
    expect(await faultsOf(page)).toEqual([]);
    // Names that every object has are no axes.
    await page.goto(`${edge.url}/?runs=one&x=toString`);
    await page
      .getByRole("group", { name: /over step: one \d/ })
      .first()
      .waitFor();
    await page.context().close();
  });

  test("where there is one column curves come first, to the keyboard too, and what is filled in stays", async () => {
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=one`);
    await page
      .getByRole("group", { name: /over step: one \d/ })
      .first()
      .waitFor();
    await page.locator("#new-run summary").click();
    const name = page.getByLabel("Name", { exact: true });
    await name.fill("kept");
    /** In the order in which a keyboard comes by them, and by which they are seen. */
    const order = () =>
      page.evaluate<string[]>(
        `[...document.querySelectorAll(".plot, .runs, #state")].map(({ className, id }) => id || className).filter((each, i, all) => each !== all[i - 1])`,
      );
    const topOf = async (selector: string) =>
      (await page.locator(selector).first().boundingBox())!.y;
    expect(await order()).toEqual(["runs", "state", "plot"]);
    const phone = { width: 360, height: 640 };
    await page.setViewportSize(phone);
    await expect.poll(order).toEqual(["plot", "runs", "state"]);
    const [plot, list] = [await topOf(".plot"), await topOf(".runs")];
    expect(plot).toBeLessThan(phone.height / 2);
    expect(plot).toBeLessThan(list);
    expect(await name.inputValue()).toBe("kept");
    await page.getByText("Axis, units, smoothing").focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("Losses by the").selectOption("byte");
    await page
      .getByRole("group", { name: /^Training loss, nats per byte/ })
      .waitFor();
    expect(await faultsOf(page)).toEqual([]);
    expect(await order()).toEqual(["runs", "state", "plot"]);
    expect(await name.inputValue()).toBe("kept");
    // Where nothing runs yet there are no curves, and a run is what can be begun.
    await page.setViewportSize(phone);
    await page.route("**/v1/runs", (route) =>
      route.fulfill({ json: { runs: [] } }),
    );
    await page.goto(`${edge.url}/`);
    await page.getByText("None yet").waitFor();
    expect(await topOf("#new-run")).toBeLessThan(
      await topOf("[aria-label='What there is']"),
    );
    await page.context().close();
  });

  test("of a run that was removed while it was looked at the page says so; one of its name is followed anew", async () => {
    const page = await pageOf();
    await trainTinyRun(api, "gone");
    await page.goto(`${edge.url}/?runs=gone`);
    await page.locator("#state", { hasText: "finished" }).waitFor();
    await api.run("gone").remove();
    await begin("gone");
    await page.locator("#state", { hasText: "running" }).waitFor();
    await api.run("gone").setState("cancelled");
    await page.locator("#state", { hasText: "cancelled" }).waitFor();
    await api.run("gone").remove();
    await page.getByText("There is no run gone on this edge").waitFor();
    await page.context().close();
    // The browser tells of what was not found.
    forgive(404);
  });

  test("a status that was asked for before another, and comes after it, is not shown", async () => {
    const page = await pageOf();
    await begin("late");
    await page.goto(`${edge.url}/?runs=late`);
    await page.locator("#state", { hasText: "running" }).waitFor();
    const asked = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    let isFirst = true;
    await page.route("**/v1/runs/late", async (route) => {
      if (!isFirst) return route.continue();
      isFirst = false;
      const response = await route.fetch();
      expect(await response.json()).toMatchObject({ state: "running" });
      asked.resolve();
      await released.promise;
      await route.fulfill({ response });
      answered.resolve();
    });
    await asked.promise;
    await api.run("late").setState("cancelled");
    await page.locator("#state", { hasText: "cancelled" }).waitFor();
    released.resolve();
    await answered.promise;
    // Time in which it would be shown, until it is asked for again.
    await page.waitForTimeout(500);
    expect(await page.locator("#state").innerText()).toBe("cancelled");
    await page.context().close();
  });

  test("one that was begun under the name of an ended run is followed, however late the end of that is heard", async () => {
    const page = await pageOf();
    await trainTinyRun(api, "again");
    const released = Promise.withResolvers<void>();
    let isFirst = true;
    // The page must not hear by the list, while there is none of that name, that the run is gone. Its door asks once.
    const listed = Promise.withResolvers<void>();
    let isDoor = true;
    await page.route("**/v1/runs", async (route) => {
      if (!isDoor) await listed.promise;
      isDoor = false;
      await route.continue();
    });
    await page.route("**/v1/runs/again/events*", async (route) => {
      if (!isFirst) return route.continue();
      isFirst = false;
      const response = await route.fetch();
      await released.promise;
      await route.fulfill({ response });
    });
    await page.goto(`${edge.url}/?runs=again`);
    await page.locator("#state", { hasText: "finished" }).waitFor();
    await api.run("again").remove();
    await begin("again");
    released.resolve();
    await page.locator("#state", { hasText: "running" }).waitFor();
    await page.getByText("no values yet").first().waitFor();
    listed.resolve();
    await api.run("again").setState("cancelled");
    await page.locator("#state", { hasText: "cancelled" }).waitFor();
    await page.context().close();
    expect(said).toEqual([]);
  });

  test("a token that is taken no more leads back to the door, whose field has the focus", async () => {
    const context = await site.chromium.newContext({ viewport: DESK });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    await page.goto(`${edge.url}/?runs=one`);
    const field = page.getByLabel("Its API token");
    await field.waitFor();
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("#state", { hasText: "finished" }).waitFor();
    const focus = () => page.evaluate<string>("document.activeElement.tagName");
    await expect.poll(focus).toBe("MAIN");
    await page.evaluate('sessionStorage.setItem("mxfp4-edge token", "old")');
    await page.getByText("got one that it takes no more").waitFor();
    expect(await page.getByText("None yet").count()).toBe(0);
    await expect.poll(focus).toBe("INPUT");
    expect(await faultsOf(page)).toEqual([]);
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator("#state", { hasText: "finished" }).waitFor();
    await context.close();
  });

  test("of many runs the latest are shown, what is sought, and what is chosen", async () => {
    for (let i = 0; i < MANY; i++) await begin(`many-${i}`);
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=one`);
    const names = page.locator(".runs button");
    await expect.poll(() => names.count()).toBe(13);
    expect(await names.first().innerText()).toBe(`many-${MANY - 1}`);
    expect(await names.last().innerText()).toBe("one");
    await page.getByLabel("Find").fill("MANY-7");
    await expect.poll(() => names.allInnerTexts()).toEqual(["many-7"]);
    await page.getByLabel("Find").fill("elsewhere");
    await page.getByText("No run has that in it").waitFor();
    await page.getByLabel("Find").fill("");
    await press(page, "Show more");
    const { length } = await api.runs();
    await expect.poll(() => names.count()).toBe(length);
    expect(await faultsOf(page)).toEqual([]);
    // There are six colours.
    const brief = Array.from({ length: 5 }, (_, i) => `brief-${i}`);
    for (const name of brief) await trainTinyRun(api, name, { steps: 1 });
    // A name that comes twice is one run.
    const seven = ["one", "one", LONG, ...brief];
    await page.addInitScript(`{
      window.dashes = 0;
      const { setLineDash } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.setLineDash = function (dash) {
        if (dash.length > 0) window.dashes++;
        return setLineDash.call(this, dash);
      };
    }`);
    await page.goto(`${edge.url}/?runs=${seven.join(",")}`);
    const keys = page.locator(".chart").first().locator(".key");
    await expect.poll(() => keys.count()).toBe(7);
    const dashed = await page.evaluate<number[]>(
      `[...document.querySelectorAll(".chart")[0].querySelectorAll(".key")].flatMap((key, i) => key.classList.contains("dashed") ? i : [])`,
    );
    expect(dashed).toEqual([6]);
    await expect
      .poll(() => page.evaluate<number>("window.dashes"))
      .toBeGreaterThan(0);
    await page.context().close();
  });

  test("a name that is read from right to left stands before its value", async () => {
    await trainTinyRun(api, "rtl", { steps: 1, name: "ריצה 12" });
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=rtl`);
    const key = page.locator(".chart").first().locator(".key");
    await key.locator("b", { hasText: /\d/ }).waitFor();
    const ends = await page.evaluate<number[]>(`(() => {
      const key = document.querySelector(".chart .key");
      const value = key.querySelector("b");
      const name = document.createRange();
      name.setStart(key, 0);
      name.setEndBefore(value);
      return [name.getBoundingClientRect().right, value.getBoundingClientRect().left];
    })()`);
    expect(ends[0]).toBeLessThanOrEqual(ends[1]!);
    await page.context().close();
  });

  test("a mouse that drags over a chart zooms it, and reads whole steps; the list tells recipes apart", async () => {
    const page = await pageOf();
    await page.goto(`${edge.url}/?runs=one`);
    await page
      .locator(".runs li", { hasText: "text, mxfp4-rht-eden, ended" })
      .waitFor();
    await page
      .getByRole("group", { name: /over step: one \d/ })
      .first()
      .waitFor();
    const chart = page.locator(".chart").first();
    const box = (await page.locator(".u-over").first().boundingBox())!;
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + 0.25 * box.width, y);
    await page.mouse.down();
    await page.mouse.move(box.x + 0.75 * box.width, y, { steps: 4 });
    await page.mouse.up();
    await expect
      .poll(() => page.url())
      .toMatch(/zoom=(1.9|2)\d*\.\.(5.9|6)\d*/);
    await page.mouse.move(box.x + 0.6 * box.width, y);
    await expect
      .poll(() => chart.locator(".reading .quiet").innerText())
      .toBe("step 4");
    await page.mouse.dblclick(box.x + 0.5 * box.width, y);
    await expect.poll(() => page.url()).not.toContain("zoom");
    await page.context().close();
  });

  test("a finger that drags over a chart zooms it", async () => {
    const page = await pageOf({ hasTouch: true });
    await page.goto(`${edge.url}/?runs=one`);
    await page
      .getByRole("group", { name: /over step: one \d/ })
      .first()
      .waitFor();
    const box = (await page.locator(".u-over").first().boundingBox())!;
    const session = await page.context().newCDPSession(page);
    const at = (share: number) => [
      { x: box.x + share * box.width, y: box.y + box.height / 2 },
    ];
    const touch = (
      type: "touchStart" | "touchMove" | "touchEnd",
      touchPoints: { x: number; y: number }[],
    ) => session.send("Input.dispatchTouchEvent", { type, touchPoints });
    await touch("touchStart", at(0.25));
    for (const share of [0.3, 0.5, 0.75]) await touch("touchMove", at(share));
    await touch("touchEnd", []);
    await expect
      .poll(() => page.url())
      .toMatch(/zoom=(1.9|2)\d*\.\.(5.9|6)\d*/);
    await press(page, "Show all");
    await expect.poll(() => page.url()).not.toContain("zoom");
    await page.context().close();
  });

  test("curves are told apart where the system has colours of its own", async () => {
    const page = await pageOf({ forcedColors: "active" });
    await page.goto(`${edge.url}/?runs=one,${LONG}`);
    const keys = page.locator(".chart").first().locator(".key");
    await expect.poll(() => keys.count()).toBe(2);
    const colors = await page.evaluate<string[]>(
      `[...document.querySelectorAll(".chart")[0].querySelectorAll(".key")].map((key) => getComputedStyle(key, "::before").backgroundColor)`,
    );
    expect(new Set(colors).size).toBe(2);
    // And they are drawn in these.
    const drawn = await page.evaluate<string[]>(
      `(() => {
        const { width, height } = document.querySelector("canvas");
        const { data } = document.querySelector("canvas").getContext("2d").getImageData(0, 0, width, height);
        const all = new Set();
        for (let i = 0; i < data.length; i += 4)
          if (data[i + 3] === 255) all.add("rgb(" + [data[i], data[i + 1], data[i + 2]].join(", ") + ")");
        return [...all];
      })()`,
    );
    expect(drawn).toEqual(expect.arrayContaining(colors));
    await page.context().close();
  });

  test("no page said anything that it should not", () => {
    expect(said).toEqual([]);
  });
});
