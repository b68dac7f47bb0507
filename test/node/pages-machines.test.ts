/**
 * Pages as other machines meet them: a clock that is hours off, keys that are the browser's own, links and numbers that cannot be,
 * what was pasted with spaces; and who reads a page's words rather than looks.
 */
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { Client } from "../../src/client/client.ts";
import { countedTokens } from "../../src/training/data.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { faultsOf } from "../support/page-faults.ts";
import {
  PATIENCE_MS,
  type PagesSite,
  startPages,
  trainTinyRun,
} from "../support/pages-site.ts";
import { tinyRun } from "../support/tiny-run.ts";

const TOKEN = "a-token-of-the-test";
const HOURS_MS = 5 * 3_600_000;

let site: PagesSite;
let api: Client;

const alarmsOf = async (page: Page) =>
  (await page.locator("[role=alert]").allInnerTexts()).filter(Boolean);

describe.skipIf(!isBrowserExpected)("on other machines", () => {
  beforeAll(async () => {
    site = await startPages(TOKEN);
    api = new Client({ baseUrl: site.edge.url, token: TOKEN });
    const text = readFileSync(mobyDick());
    await api.putDataset("text", text.subarray(0, 20_000));
    const tokenizer = { tokenizer: "bpe" } as const;
    await api.putDataset("pairs", text.subarray(0, 100_000), tokenizer);
    await api.readyDataset("pairs");
    await trainTinyRun(api, "bytes");
    await trainTinyRun(api, "pairs", { dataset: "pairs" });
  }, PATIENCE_MS);

  afterAll(async () => {
    await site?.close();
  });

  test.each([
    ["ahead", HOURS_MS],
    ["behind", -HOURS_MS],
  ])(
    "how long ago something was is told by the server's clock, where the browser's is hours %s",
    async (_, off) => {
      const run = `clock-${off > 0 ? "ahead" : "behind"}`;
      await api.createRun(tinyRun(run, { steps: 1_000 }));
      const { token } = await api.run(run).joinToken();
      const joined = new Client({ baseUrl: site.edge.url, token }).run(run);
      const identity = { trainer: "a", bootId: "b", fingerprint: "test" };
      await joined.lease(identity);
      const page = await site.open(TOKEN);
      await page.addInitScript(
        `{ const now = Date.now; Date.now = () => now() + ${off}; }`,
      );
      await page.goto(`${site.edge.url}/?runs=${run}`);
      await page.locator("#trainers td").last().waitFor();
      const heard = () => page.locator("#trainers td").last().innerText();
      const line = page.locator(".runs li", { hasText: run });
      for (const told of [heard, () => line.innerText()])
        await expect.poll(told).toMatch(/\b([2-9]|\d\d) s ago$/);
      expect(await page.locator("#words").count()).toBe(0);
      await page.context().close();
      await api.run(run).setState("cancelled");
    },
  );

  test("a trainer under quarantine is shown as such, with why and what takes it back", async () => {
    await api.createRun(tinyRun("lied", { steps: 2 }));
    const { token, id } = await api.run("lied").joinToken();
    const liar = new Client({ baseUrl: site.edge.url, token }).run("lied");
    const identity = { trainer: "liar", bootId: "b", fingerprint: "test" };
    const { lease } = await liar.lease(identity);
    const { shards, config } = await api.run("lied").status();
    const tokens = countedTokens(config, lease!.kind, lease!.index);
    const { trainer, bootId } = identity;
    // Of an evaluation, or of gradients that it has not pushed.
    const digests = shards.map(() => "0".repeat(64));
    const isTrained = lease!.kind === "train";
    const told = { trainer, bootId, tokens, ...(isTrained && { digests }) };
    await liar.complete(lease!, { ...told, lossSum: 1 });
    // That it is another than before is why it is refused.
    const again = liar.complete(lease!, { ...told, lossSum: 2 });
    await again.catch(() => undefined);
    await expect
      .poll(async () => (await api.run("lied").joinTokens())[0]!.state)
      .toBe("quarantined");
    const page = await site.open(TOKEN);
    await page.goto(`${site.edge.url}/?runs=lied`);
    await page
      .locator("#trainers tr", { hasText: "liar" })
      .getByText("quarantined")
      .waitFor();
    await page
      .getByText("told results that differ from those of others")
      .waitFor();
    await page.getByText(`mxfp4-edge reinstate lied ${id}`).waitFor();
    expect(await faultsOf(page)).toEqual([]);
    await api.run("lied").setTokenState(id, "active");
    await expect.poll(() => page.locator("#excluded").count()).toBe(0);
    await api.run("lied").setState("cancelled");
    await page.context().close();
  });

  test("a chart leaves keys to the browser that are its own", async () => {
    const page = await site.open(TOKEN);
    await page.goto(`${site.edge.url}/?runs=bytes`);
    const chart = page.getByRole("group", { name: /^Training loss.*bytes \d/ });
    await chart.focus();
    await page.evaluate(
      "window.own = []; addEventListener('keydown', (event) => window.own.push(event.defaultPrevented))",
    );
    const url = page.url();
    const keys = ["Control++", "Control+=", "Control+-", "Meta+ArrowLeft"];
    for (const key of keys) await page.keyboard.press(key);
    const taken = await page.evaluate<boolean[]>("window.own");
    expect(taken).not.toContain(true);
    expect(page.url()).toBe(url);
    await page.keyboard.press("+");
    await expect.poll(() => page.url()).toContain("zoom=");
    await page.context().close();
  });

  test("the mouse reads a chart without drawing it anew", async () => {
    const page = await site.open(TOKEN);
    await page.addInitScript(`{
      window.drawn = 0;
      const { clearRect } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.clearRect = function (...rest) {
        window.drawn++;
        return clearRect.apply(this, rest);
      };
    }`);
    await page.goto(`${site.edge.url}/?runs=bytes`);
    await page
      .getByRole("group", { name: /^Training loss.*bytes \d/ })
      .waitFor();
    await page.waitForLoadState("networkidle");
    const box = (await page.locator(".u-over").first().boundingBox())!;
    const drawn = () => page.evaluate<number>("window.drawn");
    const reading = page.locator(".chart").first().locator(".reading .quiet");
    await page.mouse.move(box.x + 2, box.y + 50);
    await reading.filter({ hasText: "step 0" }).waitFor();
    const before = await drawn();
    await page.mouse.move(box.x + box.width - 2, box.y + 50);
    await reading.filter({ hasText: "step 7" }).waitFor();
    expect(await drawn()).toBe(before);
    await page.context().close();
  });

  test("what a link says and cannot be is told on the dashboard and the page of replays too", async () => {
    const page = await site.open(TOKEN);
    const told = async () =>
      (await alarmsOf(page)).map(
        (text) =>
          /^Expected `(\w+)` of the link to be .*, got ".*"; the default is shown$/.exec(
            text,
          )?.[1],
      );
    await page.goto(
      `${site.edge.url}/?runs=bytes&x=toString&log=yes&loss=bit&smooth=1.5&zoom=9..2`,
    );
    const looks = ["x", "log", "loss", "smooth", "zoom"];
    await expect.poll(told).toEqual(looks);
    expect(page.url()).toBe(`${site.edge.url}/?runs=bytes`);
    expect(await faultsOf(page)).toEqual([]);
    for (const zoom of ["2", "2..", "2..x", "1..2..3", "..", "5..5"]) {
      await page.goto(`${site.edge.url}/?runs=bytes&zoom=${zoom}`);
      await expect.poll(told).toEqual(["zoom"]);
    }
    await page.goto(`${site.edge.url}/?runs=bytes&zoom=2..5.5`);
    await page.getByRole("button", { name: "Show all" }).waitFor();
    expect(await told()).toEqual([]);
    expect(page.url()).toContain("zoom=2..5.5");
    await page.goto(
      `${site.edge.url}/replay?run=bytes&from=end&step=-1&microbatch=x`,
    );
    await expect.poll(told).toEqual(["from", "step", "microbatch"]);
    expect(await page.getByLabel("Up to step").inputValue()).toBe("5");
    expect(await page.getByLabel("Its microbatch").inputValue()).toBe("0");
    await page.context().close();
  });

  test("a number that cannot be is told beside where it was typed, with what holds", async () => {
    const page = await site.open(TOKEN);
    await page.goto(`${site.edge.url}/play`);
    const rows = page.getByLabel("Rows");
    const trouble = "Expected a whole number from 1 to 4096; 256 holds";
    for (const text of ["", "0", "1.5", "5000", "1e9"]) {
      await rows.fill(text);
      await expect.poll(() => alarmsOf(page)).toEqual([trouble]);
      expect(await rows.inputValue()).toBe(text);
      expect(await rows.getAttribute("aria-invalid")).toBe("true");
      await rows.fill("256");
      await expect.poll(() => alarmsOf(page)).toEqual([]);
      expect(await rows.getAttribute("aria-invalid")).toBeNull();
    }
    // Another option renders the page anew; what is being typed stays.
    const seed = page.getByLabel("Seed", { exact: true });
    await rows.fill("");
    await seed.fill("7");
    await expect.poll(() => page.url()).toContain("seed=7");
    expect(await rows.inputValue()).toBe("");
    expect(await alarmsOf(page)).toEqual([trouble]);
    await rows.fill("256");
    await page.getByLabel("Walk through block").fill("-1");
    await seed.fill("1.5");
    await expect.poll(async () => (await alarmsOf(page)).length).toBe(2);
    expect(await faultsOf(page)).toEqual([]);
    await page.goto(`${site.edge.url}/?runs=bytes`);
    await page.getByLabel("Smoothing, half-life in steps").fill("-3");
    await expect
      .poll(() => alarmsOf(page))
      .toEqual(["Expected a whole number from 0 to 9999; 8 holds"]);
    await page.context().close();
  });

  test("what is pasted with spaces around it is taken without them", async () => {
    const page = await site.open();
    await page.goto(`${site.edge.url}/replay`);
    await page.getByLabel("Its API token").fill(` ${TOKEN} `);
    await page.keyboard.press("Enter");
    const run = page.getByLabel("Run", { exact: true });
    await run.fill(" bytes ");
    await page.getByLabel("Up to step").fill("0");
    await page.getByRole("button", { name: "Replay" }).click();
    await page.getByText("1 step computed again; none differs").waitFor();
    await page.goto(`${site.edge.url}/join?run=%20bytes`);
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByText("bytes is finished already").waitFor();
    await run.fill("bytes\t");
    await run.press("Enter");
    await page.getByText("bytes is finished already").waitFor();
    await page.goto(`${site.edge.url}/?runs=%20bytes,%20pairs`);
    await page.locator("#state", { hasText: "finished" }).waitFor();
    await page.locator("#new-run summary").click();
    await page.getByLabel("Id", { exact: true }).fill(" pasted ");
    await page.getByLabel("Trainers here").fill("0");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByRole("heading", { name: "pasted", exact: true }).waitFor();
    await api.run("pasted").setState("cancelled");
    await page.context().close();
  });

  test("where tokens are byte pairs, losses are told by the byte too: replayed and while one trains", async () => {
    const page = await site.open(TOKEN);
    const headsOf = (table: string) =>
      page.locator(`${table} thead`).innerText();
    const replay = async (run: string) => {
      await page.goto(`${site.edge.url}/replay?run=${run}&step=7`);
      await page.getByRole("button", { name: "Replay" }).click();
      await page.getByText("and the last evaluation computed again").waitFor();
      return page.locator("#steps tbody tr").allInnerTexts();
    };
    const metrics = (await api.run("pairs").metrics()).toReversed();
    expect(await replay("pairs")).toEqual(
      metrics.map((m) =>
        [
          m.step,
          m.trainLoss ?? "–",
          m.trainNatsPerByte ?? "–",
          m.gradNorm ?? "–",
          m.valLoss ?? "–",
          m.valNatsPerByte ?? "–",
          "verified",
        ].join("\t"),
      ),
    );
    expect(await headsOf("#steps")).toMatch(
      /^Step\s+Training loss, nats per token\s+nats per byte\s+Gradient norm\s+Validation loss, nats per token\s+nats per byte\s*$/,
    );
    expect(await faultsOf(page)).toEqual([]);
    await replay("bytes");
    expect(await headsOf("#steps")).toMatch(
      /^Step\s+Training loss, nats per token\s+Gradient norm\s+Validation loss, nats per token\s*$/,
    );
    for (const [dataset, words] of [
      ["pairs", /^[\d.]+ nats per token, [\d.]+ per byte$/],
      ["text", /^[\d.]+ nats per token$/],
    ] as const) {
      const run = `joined-${dataset}`;
      await api.createRun(tinyRun(run, { dataset, steps: 1_000 }));
      await page.goto(`${site.edge.url}/join?run=${run}`);
      await page.getByLabel("Trainers", { exact: true }).fill("1");
      await page.getByRole("button", { name: "Join" }).click();
      const loss = page.locator("#trainers td").last();
      await expect.poll(() => loss.innerText()).toMatch(words);
      await api.run(run).setState("cancelled");
    }
    await page.context().close();
  });

  test("what is read out says each thing once: figures that grow stand beside it", async () => {
    const page = await site.open(TOKEN);
    // Of what is read out, all that stood there.
    await page.addInitScript(`{
      window.heard = [];
      const hear = () => {
        for (const each of document.querySelectorAll("[role=status]")) {
          const text = each.innerText.trim();
          if (text && !window.heard.includes(text)) window.heard.push(text);
        }
      };
      new MutationObserver(hear).observe(document, { subtree: true, childList: true, characterData: true });
    }`);
    await page.goto(`${site.edge.url}/play?rows=4096&columns=2048`);
    await page
      .getByRole("button", { name: "Download the file quantized" })
      .click();
    await page.locator("#said", { hasText: "saved" }).waitFor();
    const heard = await page.evaluate<string[]>("window.heard");
    expect(heard.filter((text) => text.includes("%"))).toEqual([]);
    expect(heard).toContain("quantizing…");
    await page.locator("#slow", { hasText: "done" }).waitFor();
    await page.context().close();
  });
});
