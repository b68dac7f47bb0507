/** The page at / in a browser: what it says of an edge that is open, and of one that is closed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VERSION } from "../../src/api/version.ts";
import { startEdge } from "../../src/local/edge.ts";
import {
  browser,
  isBrowserExpected,
  launchBrowser,
} from "../support/browser.ts";

const PHONE = 320;
const TOKEN = "a-token-of-the-test";

let folder: string;
let chromium: Browser;

/** Open / of an edge of its own, with what the console says; the edge ends with `body`. */
async function atDoor(
  token: string | undefined,
  body: (page: Page, said: string[]) => Promise<void>,
): Promise<void> {
  const stateFolder = mkdtempSync(join(folder, "state-"));
  const edge = await startEdge({
    stateFolder,
    quiet: true,
    pages: true,
    ...(token === undefined ? {} : { token }),
  });
  const page = await chromium.newPage();
  const said: string[] = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", ({ message }) => said.push(message));
  page.on("request", (request) => {
    if (!request.url().startsWith(edge.url)) said.push(request.url());
  });
  try {
    const headers: Record<string, string> =
      token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const put = { method: "PUT", body: "All the world's a stage. ".repeat(99) };
    await fetch(`${edge.url}/v1/datasets/text`, { ...put, headers });
    const run = {
      run: "one",
      dataset: "text",
      model: { layers: 1, width: 64, heads: 1, context: 64 },
      shards: 1,
    };
    const post = { method: "POST", body: JSON.stringify(run), headers };
    const made = await fetch(`${edge.url}/v1/runs`, post);
    expect(made.status, await made.text()).toBe(201);
    const response = await page.goto(edge.url);
    expect(response?.status()).toBe(200);
    const policy = response?.headers()["content-security-policy"];
    expect(policy).toMatch(/^default-src 'none'; script-src 'self';/);
    await body(page, said);
  } finally {
    await page.close();
    await edge.close();
  }
}

const textOf = (page: Page, id: string) => page.locator(`#${id}`).innerText();

/** Once the page has shown it. */
async function expectText(page: Page, id: string, text: string) {
  await page.locator(`#${id}`, { hasText: text }).waitFor();
  expect(await textOf(page, id)).toBe(text);
}

describe.skipIf(!isBrowserExpected)("/ in a browser", () => {
  beforeAll(async () => {
    expect(browser, "a browser").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "mxfp4-door-test-"));
    chromium = await launchBrowser();
  });

  afterAll(async () => {
    await chromium?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("of an open edge it shows all, in light and dark, wide and narrow", async () => {
    await atDoor(undefined, async (page, said) => {
      await expectText(page, "runs", "1 under way, 0 ended");
      await expectText(page, "jobs", "0 running, 0 ended");
      expect(await textOf(page, "version")).toContain(VERSION);
      expect(await textOf(page, "mode")).toBe("on this machine");
      expect(await textOf(page, "access")).toBe("open to this machine");
      expect(await page.locator("#enter").isVisible()).toBe(false);
      const grounds = new Set<string>();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        grounds.add(
          await page.evaluate(
            "getComputedStyle(document.body).backgroundColor",
          ),
        );
        for (const width of [PHONE, 1280]) {
          await page.setViewportSize({ width, height: 900 });
          const wider = await page.evaluate(
            "document.documentElement.scrollWidth - innerWidth",
          );
          expect(wider, `at ${width}`).toBeLessThanOrEqual(0);
        }
      }
      expect(grounds.size).toBe(2);
      await page.getByText("Every route").click();
      await page.locator(".opblock").first().waitFor();
      expect(said).toEqual([]);
    });
  });

  test("of a closed edge it shows runs and jobs for a token only", async () => {
    await atDoor(TOKEN, async (page, said) => {
      await expectText(page, "access", "closed: a token is needed");
      expect(await textOf(page, "runs")).toBe("only with a token");
      expect(await textOf(page, "mode")).toBe("on this machine");
      expect(said).toEqual([]);
      await page.locator("#token").fill(TOKEN);
      await page.locator("#enter button").click();
      await expectText(page, "runs", "1 under way, 0 ended");
      expect(said).toEqual([]);
      await page.locator("#token").fill("another");
      await page.locator("#enter button").click();
      await page
        .locator("#said", { hasText: "Expected the API_TOKEN" })
        .waitFor();
    });
  });
});
