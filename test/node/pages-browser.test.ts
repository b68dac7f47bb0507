/**
 * The pages as their readers use them, in one browser on one edge: a run is started, watched and ended.
 * Whatever is done, the console stays silent, nobody else is asked, nothing is wider than a phone, and
 * axe finds nothing, in light and in dark.
 *
 *   SCREENSHOTS=docs/pages npm test -- test/node/pages-browser.test.ts    keeps what it sees
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { source as axe } from "axe-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VERSION } from "../../src/api/version.ts";
import { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import {
  browser,
  isBrowserExpected,
  launchBrowser,
} from "../support/browser.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const PHONE = { width: 320, height: 800 };
const DESK = { width: 1280, height: 1000 };
const TOKEN = "a-token-of-the-test";
const TEXT = "All the world's a stage, and all the men and women players. ";
/** Without the kernels. */
const MOST_GZIP_BYTES = 90 * 1024;

let folder: string;
let edge: Running;
let chromium: Browser;
let context: BrowserContext;
let page: Page;
/** What the consoles said, what failed, and who else was asked. */
let said: string[];

/** A page that tells all that it should not say. */
function listened(made: Page, own: string): Page {
  made.on("console", (message) => said.push(message.text()));
  made.on("pageerror", ({ message }) => said.push(message));
  made.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(own) && !/^(blob|data):/.test(url)) said.push(url);
  });
  return made;
}

/** What axe complains of, in light and dark; and what is wider than its page, on a desk and a phone. */
async function faultsOf(shown: Page): Promise<string[]> {
  const faults: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await shown.emulateMedia({ colorScheme });
    for (const size of [PHONE, DESK]) {
      await shown.setViewportSize(size);
      const wider = await shown.evaluate<number>(
        "document.documentElement.scrollWidth - innerWidth",
      );
      if (wider > 0) faults.push(`${wider} px too wide at ${size.width}`);
    }
    await shown.evaluate(axe);
    const found = await shown.evaluate<string[]>(
      "axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))",
    );
    faults.push(...found.map((fault) => `${colorScheme} ${fault}`));
  }
  return faults;
}

/** Keeps what is seen, where it is asked for. */
async function keep(shown: Page, name: string): Promise<void> {
  const { SCREENSHOTS } = process.env;
  if (!SCREENSHOTS) return;
  mkdirSync(resolve(ROOT, SCREENSHOTS), { recursive: true });
  await shown.mouse.move(0, 0);
  const path = resolve(ROOT, SCREENSHOTS, `${name}.png`);
  await shown.screenshot({ path });
}

const run = () => new Client({ baseUrl: edge.url }).run("mine");
const stateOf = (shown: Page, state: string) =>
  shown.locator("#state", { hasText: state }).waitFor();
const stepOf = async (shown: Page) =>
  Number(await shown.locator("#step").innerText());

async function untilStep(shown: Page, step: number): Promise<void> {
  await expect
    .poll(() => stepOf(shown), { timeout: 60_000, interval: 100 })
    .toBeGreaterThanOrEqual(step);
}

describe.skipIf(!isBrowserExpected)("the pages in a browser", () => {
  beforeAll(async () => {
    expect(browser, "a browser").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "mxfp4-pages-test-"));
    [edge, chromium] = await Promise.all([
      startEdge({
        stateFolder: join(folder, "state"),
        quiet: true,
        pages: true,
      }),
      launchBrowser(),
    ]);
    said = [];
    context = await chromium.newContext({ viewport: DESK });
    page = listened(await context.newPage(), edge.url);
  });

  afterAll(async () => {
    await chromium?.close();
    await edge?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each([["/", ["dashboard.js", "style.css"]]])(
    "%s is small, and may ask this server only",
    async (path, files) => {
      const { headers, ok } = await fetch(edge.url + path);
      expect(ok).toBe(true);
      const policy = headers.get("Content-Security-Policy")!;
      expect(policy).toMatch(/^default-src 'none'; script-src 'self' /);
      expect(policy).not.toContain("unsafe-inline");
      const sizes = files.map((file) => {
        const bytes = readFileSync(join(ROOT, "public/pages", file));
        return gzipSync(bytes).length;
      });
      const total = sizes.reduce((sum, size) => sum + size, 0);
      expect(total).toBeLessThanOrEqual(MOST_GZIP_BYTES);
    },
  );

  test("/ without a run says how to begin, and what serves", async () => {
    await page.goto(edge.url);
    await page.getByText("None yet").waitFor();
    expect(await page.locator("#version").innerText()).toContain(VERSION);
    expect(await page.locator("#mode").innerText()).toBe("on this machine");
    expect(await page.locator("#access").innerText()).toBe(
      "open to this machine",
    );
    expect(await faultsOf(page)).toEqual([]);
  });

  test("a run is started with a text of one's own, by the keyboard too", async () => {
    await page.getByText("Start a run").focus();
    await page.keyboard.press("Enter");
    const buffer = Buffer.from(TEXT.repeat(500));
    const file = { name: "stage.txt", mimeType: "text/plain", buffer };
    await page.setInputFiles("input[name=file]", file);
    await page.getByLabel("Name", { exact: true }).fill("mine");
    for (const [name, value] of Object.entries({
      Layers: "1",
      Steps: "4000",
      "Trainers here": "1",
    }))
      await page.getByLabel(name, { exact: true }).fill(value);
    await page.getByLabel("Trainers here").press("Enter");
    await stateOf(page, "running");
    await untilStep(page, 10);
    expect(await page.locator(".runs").innerText()).toContain("mine");
    expect((await run().status()).config.model.layers).toBe(1);
  });

  test("its curve moves, and is whole after the page was left", async () => {
    const before = await stepOf(page);
    await page.reload();
    await untilStep(page, before + 5);
    await page.getByText("The latest values").click();
    const [first] = await page.locator("details tbody tr").allInnerTexts();
    const [step, trainLoss] = first!.split("\t");
    const metrics = await run().metrics();
    expect(metrics[Number(step)]!.trainLoss).toBe(Number(trainLoss));
    const chart = page.getByRole("group", { name: /^Training loss/ });
    await chart.focus();
    expect(await chart.getAttribute("aria-label")).toMatch(
      /over step: mine \d/,
    );
    expect(await page.getByText("Show all").isDisabled()).toBe(true);
    await page.keyboard.press("+");
    await page.getByText("Show all").click();
    await page.getByRole("combobox", { name: /^Over/ }).selectOption("tokens");
    await page.getByLabel("Log scale").check();
    expect(page.url()).toContain("?runs=mine&x=tokens&log=1");
    await page.getByRole("combobox", { name: /^Over/ }).selectOption("step");
    await keep(page, "dashboard");
    expect(await faultsOf(page)).toEqual([]);
  });

  test("it is paused, goes on, is cancelled and exported", async () => {
    await page.getByText("Pause").click();
    await stateOf(page, "paused");
    await page.getByText("Resume").click();
    await stateOf(page, "running");
    await page.getByText("Cancel").click();
    await stateOf(page, "cancelled");
    const { step } = await run().status();
    await expect.poll(() => stepOf(page)).toBe(step);
    for (const format of ["safetensors", "gguf-mxfp4"] as const) {
      const download = page.waitForEvent("download");
      await page.getByLabel("Checkpoint as").selectOption(format);
      await page.getByRole("button", { name: "Export" }).click();
      const saved = readFileSync(await (await download).path());
      const told = await (await run().checkpoint(format)).arrayBuffer();
      expect(saved.equals(Buffer.from(told))).toBe(true);
      if (format === "safetensors")
        expect(readCheckpoint(saved).step).toBe(step);
    }
  });

  test("no page said anything that it should not", () => {
    expect(said).toEqual([]);
  });

  test("an edge that is closed asks for a token, and keeps it for the tab", async () => {
    const stateFolder = join(folder, "closed");
    const token = TOKEN;
    const closed = await startEdge({
      stateFolder,
      quiet: true,
      pages: true,
      token,
    });
    const own = await chromium.newContext();
    said = [];
    const door = listened(await own.newPage(), closed.url);
    try {
      await door.goto(`${closed.url}/`);
      await door.getByLabel("Its API token").fill(TOKEN);
      expect(await faultsOf(door)).toEqual([]);
      await door.getByText("Enter").click();
      await door.getByText("None yet").waitFor();
      expect(await own.cookies()).toEqual([]);
      await door.reload();
      await door.getByText("None yet").waitFor();
      expect(said).toEqual([]);
      await door.getByText("Forget the token").click();
      await door.getByLabel("Its API token").fill("another");
      await door.getByText("Enter").click();
      await door.getByText("Expected the API_TOKEN").waitFor();
    } finally {
      await own.close();
      await closed.close();
    }
  });
});
