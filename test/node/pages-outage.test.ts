/** What the dashboard says of an edge that was away, once it is back. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

describe.skipIf(!isBrowserExpected)("after an outage", () => {
  let site: PagesSite;

  beforeAll(async () => {
    site = await startPages();
    const api = new Client({ baseUrl: site.edge.url });
    await api.putDataset("text", new Blob(["Call me Ishmael. ".repeat(400)]));
    await api.createRun(tinyRun("one"));
  });

  afterAll(async () => {
    await site?.close();
  });

  test("what failed meanwhile is said no longer: of a run, and of one that was to start", async () => {
    const page = await site.open();
    await page.goto(`${site.edge.url}/?runs=one`);
    await page.getByRole("button", { name: "Pause" }).waitFor();
    await page.locator("#new-run summary").click();
    await page.getByLabel("Trainers here").fill("0");
    const done = page.locator("#done");
    const started = page.locator("#new-run [role=status]");
    const alarms = async () =>
      (await page.locator("[role=alert]").allInnerTexts()).filter(Boolean);
    await page.route("**/v1/**", (route) =>
      route.fulfill({
        status: 403,
        contentType: "application/problem+json",
        json: { code: "forbidden", detail: "Expected the edge, got none" },
      }),
    );
    await page.getByRole("button", { name: "Pause" }).click();
    await expect
      .poll(() => done.innerText())
      .toBe("Expected the edge, got none");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await expect
      .poll(() => started.innerText())
      .toBe("Expected the edge, got none");
    await expect.poll(alarms).toHaveLength(2);
    await page.unroute("**/v1/**");
    await expect.poll(alarms).toEqual([]);
    await expect.poll(() => done.innerText()).toBe("");
    await expect.poll(() => started.innerText()).toBe("");
    await page.getByRole("button", { name: "Pause" }).waitFor();
  });

  test("an edge that takes a request and never answers is said not to answer, and asked again", async () => {
    const page = await site.open();
    await page.clock.install();
    await page.route("**/version", () => {});
    await page.goto(site.edge.url);
    await page.getByText("Asking the edge…").waitFor();
    await page.clock.fastForward(31_000);
    await page.getByText("The edge does not answer").waitFor();
    await page.getByText("nothing came within 30000 ms").waitFor();
    await page.unroute("**/version");
    await page.getByRole("button", { name: "Ask again" }).click();
    await page.locator("#new-run summary").waitFor();
  });
});
