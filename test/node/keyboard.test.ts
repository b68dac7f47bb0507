/**
 * The pages by the keyboard alone, on a closed edge: Tab, Enter, letters and arrows, never the mouse. Each stop has a ring
 * that is seen, axe finds nothing where one arrives, in light and dark, and nothing is wider than a phone.
 */
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { Client } from "../../src/client/client.ts";
import type { Running } from "../../src/local/edge.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { enterAt, tabTo, typeAt } from "../support/keyboard.ts";
import { faultsOf } from "../support/page-faults.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

const TOKEN = "a-token-of-the-test";

let site: PagesSite;
let edge: Running;
let api: Client;
let said: string[];

/** A page at `path`, nothing of which has the focus, of whoever has brought the token or not. */
async function open(path: string, token?: string): Promise<Page> {
  const page = await site.open(token);
  await page.goto(edge.url + path);
  return page;
}

describe.skipIf(!isBrowserExpected)("by the keyboard alone", () => {
  beforeAll(async () => {
    site = await startPages(TOKEN);
    ({ edge, said } = site);
    api = new Client({ baseUrl: edge.url, token: TOKEN });
    await api.putDataset("text", readFileSync(mobyDick()).subarray(0, 20_000));
    const headers = { Authorization: `Bearer ${TOKEN}` };
    const file = `${edge.url}/v1/files/mine/notes.txt`;
    await fetch(file, { method: "PUT", body: "x", headers });
  });

  afterAll(async () => {
    await site?.close();
  });

  test("/docs: an operation is found, let in, filled, sent, and its answer read", async () => {
    const page = await open("/docs");
    const operation = page.locator('.opblock[id$="-listFiles"]');
    const answer = operation.locator(".live-responses-table");
    await operation.waitFor();
    await enterAt(page, /^GET \/v1\/files\b(?!\/)/);
    await enterAt(page, /^Try it out/);
    await typeAt(page, /^prefix$/, "mine/");
    await enterAt(page, /^Execute/);
    await answer.getByText("401", { exact: true }).first().waitFor();
    // The browser tells of what was refused.
    expect(said.splice(0)).toEqual([expect.stringContaining("401")]);
    await page.reload();
    await operation.waitFor();
    await enterAt(page, /^Authorize$/);
    // The first of its fields has the focus, what ends it follows, and then what opened it.
    await page.locator(".dialog-ux input[aria-label=token]:focus").waitFor();
    expect(await faultsOf(page, [".dialog-ux"])).toEqual([]);
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.locator(".dialog-ux .btn-done:focus").waitFor();
    await page.keyboard.press("Enter");
    await page.locator(".dialog-ux").waitFor({ state: "detached" });
    await page.locator(".btn.authorize:focus").waitFor();
    await enterAt(page, /^GET \/v1\/files\b(?!\/)/);
    await enterAt(page, /^Try it out/);
    await typeAt(page, /^prefix$/, "mine/");
    await enterAt(page, /^Execute/);
    await answer.getByText("200", { exact: true }).first().waitFor();
    await tabTo(page, /"name": "mine\/notes\.txt"/);
    expect(await faultsOf(page, ["header", ".opblock.is-open"])).toEqual([]);
    expect(said).toEqual([]);
    await page.context().close();
  });

  test("/: let in, a run is started, looked at, paused, resumed and cancelled", async () => {
    const page = await open("/");
    await page.getByLabel("Its API token").waitFor();
    await page.keyboard.type(TOKEN);
    await page.keyboard.press("Enter");
    await page.getByText("None yet").waitFor();
    await enterAt(page, /^Start a run/);
    await page
      .locator("option", { hasText: "text, " })
      .waitFor({ state: "attached" });
    await tabTo(page, /^Recipe/);
    await page.keyboard.type("bf16");
    await typeAt(page, /^Id/, "typed");
    await typeAt(page, /^Layers/, "1");
    await typeAt(page, /^Steps/, "20000");
    await enterAt(page, /^Start$/);
    await page.locator("#state", { hasText: "running" }).waitFor();
    const step = page.locator("#step");
    await expect
      .poll(async () => Number(await step.innerText()), { timeout: 30_000 })
      .toBeGreaterThan(12);
    expect((await api.run("typed").status()).config).toMatchObject({
      recipe: "bf16",
      model: { layers: 1 },
    });
    await page.reload();
    await page.locator("#state", { hasText: "running" }).waitFor();
    await enterAt(page, /^Pause$/);
    await page.locator("#state", { hasText: "paused" }).waitFor();
    const focused = page.locator("button:focus:not([aria-disabled=true])");
    await focused.filter({ hasText: "Resume" }).waitFor();
    await page.keyboard.press("Enter");
    await page.locator("#state", { hasText: "running" }).waitFor();
    await tabTo(page, /^Log scale/);
    await page.keyboard.press("Space");
    await tabTo(page, /^Training loss, nats per token, over step: typed/);
    await page.keyboard.press("+");
    await expect.poll(() => page.url()).toMatch(/&log=1&zoom=/);
    await page.keyboard.press("Escape");
    await expect.poll(() => page.url()).not.toContain("zoom");
    await enterAt(page, /^The latest values/);
    await tabTo(page, /^Latest values/);
    await page.reload();
    await page.locator("#state", { hasText: "running" }).waitFor();
    await enterAt(page, /^Cancel$/);
    await page.locator("#state", { hasText: "cancelled" }).waitFor();
    expect(await faultsOf(page)).toEqual([]);
    await page.context().close();
  });

  test("/join: a run is named, trained in and left", async () => {
    await api.createRun(tinyRun("joined", { steps: 20_000 }));
    const page = await open("/join", TOKEN);
    await page.getByRole("button", { name: "Join" }).waitFor();
    await typeAt(page, /^Run$/, "joined");
    // The list of what is open.
    await page.keyboard.press("Escape");
    await typeAt(page, /^Trainers/, "1");
    await enterAt(page, /^Join$/);
    await page.locator("#trainers .done", { hasText: /[1-9]/ }).waitFor();
    await enterAt(page, /^Leave$/);
    await page.locator("#trainers td", { hasText: "left" }).waitFor();
    expect(await faultsOf(page)).toEqual([]);
    await api.run("joined").setState("cancelled");
    await page.context().close();
  });

  test("/play: values are drawn, a scheme is chosen, its link is shown, its table read", async () => {
    const page = await open("/play", TOKEN);
    await page.locator("#figures").waitFor();
    await tabTo(page, /^Or draw/);
    await page.keyboard.type("heavy");
    await tabTo(page, /^Rounding/);
    await page.keyboard.type("stoch");
    await typeAt(page, /^Seed$/, "7");
    await expect
      .poll(() => page.url())
      .toContain("rounding=stochastic&seed=7&distribution=heavy");
    await page.context().grantPermissions(["clipboard-write"]);
    await enterAt(page, /^Copy the link/);
    await page.getByText("the link: in the clipboard").waitFor();
    await enterAt(page, /^The same from the API/);
    await page.locator("#curl-quantize").waitFor();
    expect(await faultsOf(page)).toEqual([]);
    await page.context().close();
  });

  test("no page said anything that it should not", () => {
    expect(said).toEqual([]);
  });
});
