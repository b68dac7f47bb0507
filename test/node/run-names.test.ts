/** A run's name where people meet it: in the terminal, on the pages, in TensorBoard. */
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Client } from "../../src/client/client.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { faultsOf } from "../support/page-faults.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

const COMMAND = resolve(import.meta.dirname, "../../src/cli/main.ts");
const HTML = `<b id="bold">R/D</b>`;
const SHARED = "twice";

describe.skipIf(!isBrowserExpected)("runs that have names", () => {
  let site: PagesSite;
  let page: Page;

  beforeAll(async () => {
    site = await startPages();
    const api = new Client({ baseUrl: site.edge.url });
    await api.putDataset("text", new Blob(["Call me Ishmael. ".repeat(400)]));
    for (const [run, name] of [
      ["one", SHARED],
      ["two", SHARED],
      ["html", HTML],
    ] as const)
      await api.createRun(tinyRun(run, { name, steps: 2 }));
    await api.run("html").addTrainers(1);
    // They end with the run.
    let last: unknown;
    for await (const event of api.run("html").events()) last = event;
    expect(last).toMatchObject({ type: "state", state: "finished" });
    page = await site.open();
  });

  afterAll(async () => {
    await site?.close();
  });

  async function told(...args: string[]): Promise<string> {
    const env = {
      ...process.env,
      NO_COLOR: "1",
      MXFP4_EDGE_URL: site.edge.url,
    };
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [COMMAND, ...args],
      { cwd: site.folder, env },
    );
    return stdout;
  }

  test("`runs` and `watch` tell the name beside the id", async () => {
    expect(await told("runs")).toMatch(
      /^html +<b id="bold">R\/D<\/b> +finished/m,
    );
    expect(JSON.parse(await told("runs", "--json"))).toContainEqual(
      expect.objectContaining({ run: "two", name: SHARED }),
    );
    expect(await told("watch", "html")).toContain(
      `run html, "${HTML}", is finished`,
    );
  });

  test("TensorBoard gets a folder by name and id, of signs that a folder's name may have", async () => {
    await told(
      "runs",
      "export",
      "html",
      "--format",
      "tensorboard",
      "-o",
      "logs",
    );
    expect(readdirSync(join(site.folder, "logs"))).toEqual([
      "_b id=_bold__R_D__b_ (html)",
    ]);
  });

  test("the dashboard shows it as text: list, heading, title, legend, with the id within reach", async () => {
    await page.goto(`${site.edge.url}/?runs=html`);
    await page.getByRole("heading", { name: HTML, exact: true }).waitFor();
    await expect
      .poll(() => page.title())
      .toMatch(/^<b id="bold">R\/D<\/b>, fin/);
    await page
      .getByRole("group", { name: `over step: ${HTML}` })
      .first()
      .waitFor();
    await page.getByRole("button", { name: HTML, exact: true }).waitFor();
    expect(await page.locator(".runs").innerText()).toContain("html, text");
    expect(await page.locator("dl").first().innerText()).toMatch(/Id\s+html/);
    expect(await page.locator("#bold").count()).toBe(0);
    expect(await faultsOf(page)).toEqual([]);
  });

  test("two runs of one name are told apart by their ids", async () => {
    await page.goto(`${site.edge.url}/?runs=one,two`);
    for (const run of ["one", "two"])
      await page
        .getByRole("button", { name: `${SHARED} (${run})`, exact: true })
        .waitFor();
    await page.getByRole("heading", { name: `${SHARED} (one)` }).waitFor();
  });

  test("a run that is started on the page has the name of the form", async () => {
    await page.locator("#new-run summary").click();
    await page.getByLabel("Name", { exact: true }).fill(" Second try ");
    await page.getByLabel("Trainers here").fill("0");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByRole("heading", { name: "Second try" }).waitFor();
    const [latest] = await new Client({ baseUrl: site.edge.url }).runs();
    expect(latest).toMatchObject({ name: "Second try" });
    expect(latest!.run).toMatch(/^run-/);
  });

  test("replay and join offer ids, told by their names", async () => {
    for (const path of ["replay", "join"]) {
      await page.goto(`${site.edge.url}/${path}`);
      const options = page.locator("#runs option");
      await expect.poll(() => options.count()).toBe(path === "join" ? 3 : 4);
      const pairs = await options.evaluateAll((all) =>
        all.map((each) => [
          each.getAttribute("value"),
          each.getAttribute("label"),
        ]),
      );
      expect(pairs).toContainEqual(["two", SHARED]);
    }
    expect(site.said).toEqual([]);
  });
});
