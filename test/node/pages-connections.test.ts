/** A browser has six connections to a server, for all its tabs: pages leave some, whatever they follow and train. */
import type { Page, Request } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Client } from "../../src/client/client.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";
import { PATIENCE_MS } from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

const OPEN = Array.from({ length: 7 }, (_, i) => `open-${i}`);
/** As a machine with 16 cores has, unless told. */
const TRAINERS = 8;

let site: PagesSite;
let api: Client;

/** What a page and its Workers have asked, and what of it has no end yet. */
function heardOf(page: Page): { all: string[]; open: Set<Request> } {
  const all: string[] = [];
  const open = new Set<Request>();
  page.on("request", (request) => {
    all.push(request.url());
    open.add(request);
  });
  page.on("requestfinished", (request) => open.delete(request));
  page.on("requestfailed", (request) => open.delete(request));
  return { all, open };
}

const streamsIn = (open: ReadonlySet<Request>) =>
  Array.from(open, (request) => /([^/]+)\/events$/.exec(request.url())?.[1])
    .filter((run) => run !== undefined)
    .sort();

describe.skipIf(!isBrowserExpected)("six connections", () => {
  beforeAll(async () => {
    site = await startPages();
    api = new Client({ baseUrl: site.edge.url });
    await api.putDataset("text", new Blob(["Call me Ishmael. ".repeat(400)]));
    for (const run of OPEN) await api.createRun(tinyRun(run, { steps: 400 }));
  });

  afterAll(async () => {
    await site?.close();
  });

  async function reaches(run: string, step: number): Promise<void> {
    await vi.waitFor(
      async () =>
        expect((await api.run(run).status()).step).toBeGreaterThan(step),
      { timeout: PATIENCE_MS, interval: 100 },
    );
  }

  test("of many runs under way the shown one is heard, while its page is in sight; the others are read all the same", async () => {
    const page = await site.open();
    const { open } = heardOf(page);
    await page.goto(`${site.edge.url}/?runs=${OPEN.join(",")}`);
    await expect.poll(() => streamsIn(open)).toEqual(["open-0"]);
    // Pages beside it, and what is pressed, have connections too.
    const beside = await page.context().newPage();
    await beside.goto(`${site.edge.url}/?runs=open-1`);
    await beside.locator("#state", { hasText: "running" }).waitFor();
    await beside.close();
    const chart = page.getByRole("group", { name: /^Training loss/ });
    const label = () => chart.getAttribute("aria-label");
    await api.run("open-6").addTrainers(1);
    await expect.poll(label, { timeout: PATIENCE_MS }).toMatch(/open-6 \d/);
    await reaches("open-6", 8);
    await api.run("open-6").setState("paused");
    // What a run takes back is here no more.
    await api.run("open-6").rewind(0);
    await expect.poll(label, { timeout: PATIENCE_MS }).not.toContain("open-6");
    await page.getByRole("button", { name: "open-5", exact: true }).click();
    await expect.poll(() => streamsIn(open)).toEqual(["open-5"]);
    await page.evaluate(`{
      Object.defineProperty(document, "hidden", { value: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }`);
    await expect.poll(() => streamsIn(open)).toEqual([]);
    await api.run("open-5").setState("cancelled");
    await expect
      .poll(() => page.title(), { timeout: PATIENCE_MS })
      .toBe("open-5, cancelled at step 0: mxfp4-edge");
    await page.context().close();
  });

  test("trainers of a tab wait in three lines, and for no parameters", async () => {
    const run = tinyRun("tab", {
      steps: 4000,
      microbatches: TRAINERS,
      shards: 2,
    });
    await api.createRun(run);
    const page = await site.open();
    const { all, open } = heardOf(page);
    await page.goto(`${site.edge.url}/join?run=tab`);
    await page.getByLabel("Trainers").fill(`${TRAINERS}`);
    await page.getByRole("button", { name: "Join", exact: true }).click();
    await page
      .locator("#trainers tbody tr")
      .nth(TRAINERS - 1)
      .waitFor();
    await reaches("tab", 4);
    await api.run("tab").setState("paused");
    const waiting = () =>
      Array.from(open, (request) => new URL(request.url()).pathname);
    await expect
      .poll(waiting, { timeout: PATIENCE_MS })
      .toEqual(Array(3).fill("/v1/runs/tab/leases"));
    expect(all.filter((url) => url.includes("waitMs"))).toEqual([]);
    await page.getByRole("button", { name: "Leave" }).click();
    const left = page.locator("#trainers td", { hasText: "left" });
    await expect
      .poll(() => left.count(), { timeout: PATIENCE_MS })
      .toBe(TRAINERS);
    await page.context().close();
  });

  test("no page said anything that it should not", () => {
    expect(site.said).toEqual([]);
  });
});
