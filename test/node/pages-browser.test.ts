/**
 * The pages as their readers use them, in one browser on one edge: a run is started, watched and ended.
 * Whatever is done, the console stays silent, nobody else is asked, nothing is wider than a phone, and
 * axe finds nothing, in light and in dark.
 *
 *   SCREENSHOTS=docs/pages npm test -- test/node/pages-browser.test.ts    keeps what it sees
 */
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { RunEvent, StepMetrics } from "../../src/api/run-metrics.ts";
import type { Analysis } from "../../src/api/tensors.ts";
import { VERSION } from "../../src/api/version.ts";
import { mobyDick } from "../../src/cli/train/moby-dick.ts";
import { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { counted } from "../../src/pages/shell/format.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import {
  type BreakableProxy,
  startBreakableProxy,
} from "../support/breakable-proxy.ts";
import { browser, isBrowserExpected } from "../support/browser.ts";
import { DESK, faultsOf, listened } from "../support/page-faults.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const TOKEN = "a-token-of-the-test";
const LLAMA = resolve(ROOT, "test/fixtures/hf/llama/model.safetensors");
const LLAMA_FOLDER = [LLAMA, resolve(LLAMA, "../config.json")];
const Q_PROJ = "model.layers.1.self_attn.q_proj.weight";
const TEXT_BYTES = 30_000;
/** Without the kernels. */
const MOST_GZIP_BYTES = 90 * 1024;

let site: PagesSite;
let folder: string;
let edge: Running;
let context: BrowserContext;
let page: Page;
/** What the consoles said, what failed, and who else was asked. */
let said: string[];

/** Keeps what is seen, where it is asked for. */
async function keep(shown: Page, name: string): Promise<void> {
  const { SCREENSHOTS } = process.env;
  if (!SCREENSHOTS) return;
  mkdirSync(resolve(ROOT, SCREENSHOTS), { recursive: true });
  await shown.emulateMedia({ colorScheme: "light" });
  await shown.setViewportSize(DESK);
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
    .poll(() => stepOf(shown), { interval: 100 })
    .toBeGreaterThanOrEqual(step);
}

/** Once the Worker has answered all that was asked. */
async function settled(shown: Page): Promise<void> {
  await shown.locator("#figures").waitFor();
  await expect
    .poll(() => shown.locator("#busy").innerText(), { interval: 50 })
    .toBe("done");
}

/** Names of the layers under the microscope, whose gradients are near the exact ones, and are not them. */
async function layersSeen(shown: Page): Promise<string[]> {
  const layers = await shown.locator("#layers tbody tr").allInnerTexts();
  return layers.map((layer) => {
    const [name, ...told] = layer.split("\t");
    const [, , , , cosX, slopeX, cosW, slopeW] = told.map(Number.parseFloat);
    for (const each of [cosX, slopeX, cosW, slopeW]) {
      expect(each).toBeGreaterThan(0.9);
      expect(each).toBeLessThan(1.1);
    }
    expect(cosX).toBeLessThan(1);
    return name!;
  });
}

/** What the clipboard has after a button. */
async function copiedBy(
  shown: Page,
  button: string,
  what: string,
): Promise<string> {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await shown.getByRole("button", { name: button }).click();
  await shown.getByText(`${what}: in the clipboard`).waitFor();
  return shown.evaluate<string>("navigator.clipboard.readText()");
}

async function savedBy(shown: Page, button: string): Promise<Buffer> {
  const download = shown.waitForEvent("download");
  await shown.getByRole("button", { name: button }).click();
  return readFileSync(await (await download).path());
}

describe.skipIf(!isBrowserExpected)("the pages in a browser", () => {
  beforeAll(async () => {
    expect(browser, "a browser").toBeDefined();
    site = await startPages();
    ({ folder, edge, said } = site);
    page = await site.open();
    context = page.context();
  });

  afterAll(async () => {
    await site?.close();
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
    await page.locator("#new-run summary").focus();
    await page.keyboard.press("Enter");
    const buffer = readFileSync(mobyDick()).subarray(0, TEXT_BYTES);
    const file = { name: "moby-dick.txt", mimeType: "text/plain", buffer };
    await page.setInputFiles("input[name=file]", file);
    await page.getByLabel("Id", { exact: true }).fill("mine");
    for (const [name, value] of Object.entries({
      Layers: "1",
      Steps: "20000",
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
    // At once: a row that goes in between has no cells.
    const rows = await page.evaluate<string[]>(
      `Array.from(document.querySelectorAll("[aria-label='Latest values'] tbody tr"), (row) => row.innerText)`,
    );
    const values = rows.map((row) => row.split("\t").map(Number));
    const [step, trainLoss] = values[0]!;
    expect(values.map(([each]) => each)).toEqual(
      Array.from({ length: 12 }, (_, i) => step! - i),
    );
    const metrics = await run().metrics();
    expect(metrics[step!]!.trainLoss).toBe(trainLoss);
    const chart = page.getByRole("group", { name: /^Training loss/ });
    await chart.focus();
    await expect
      .poll(() => chart.getAttribute("aria-label"))
      .toMatch(/over step: mine \d/);
    await expect.poll(() => page.getByText("Show all").isDisabled()).toBe(true);
    await page.keyboard.press("+");
    await page.getByText("Show all").click();
    await page.getByRole("combobox", { name: /^Over/ }).selectOption("tokens");
    await page.getByLabel("Log scale").check();
    await expect.poll(() => page.url()).toContain("?runs=mine&x=tokens&log=1");
    await page.getByRole("combobox", { name: /^Over/ }).selectOption("step");
    await keep(page, "dashboard");
    expect(await faultsOf(page)).toEqual([]);
  });

  describe("of a run that went on while a page heard nothing, all is there again", () => {
    let proxy: BreakableProxy;
    let far: Page;

    beforeAll(async () => {
      proxy = await startBreakableProxy(edge.url);
      // Its console tells of each request that got no answer.
      far = await context.newPage();
      far.on("pageerror", ({ message }) => said.push(message));
      await far.goto(`${proxy.url}/?runs=mine`);
      await far.getByText("The latest values").click();
    });

    afterAll(async () => {
      await run().setState("running");
      await far.close();
      await proxy.close();
    });

    /** Events as they are told long after: the last alone is kept. */
    async function onlyLastEvent(): Promise<void> {
      const { step } = await run().status();
      let last: RunEvent | undefined;
      for await (const event of run().events()) {
        last = event;
        if (event.type === "step" && event.metrics.step >= step - 1) break;
      }
      const body = `id: ${last!.id}\ndata: ${JSON.stringify(last)}\n\n`;
      const contentType = "text/event-stream";
      await far.route(
        "**/events",
        (route) => route.fulfill({ body, contentType }),
        { times: 1 },
      );
    }

    const lifecycle = async (state: "active" | "frozen") => {
      const session = await context.newCDPSession(far);
      await session.send("Page.setWebLifecycleState", { state });
      await session.detach();
    };

    test.each<[string, () => unknown, () => unknown]>([
      ["its network was cut", () => proxy.cut(), () => proxy.mend()],
      ["its stream fell silent", () => proxy.hang("/events"), () => undefined],
      ["it was asleep", () => lifecycle("frozen"), () => lifecycle("active")],
      [
        "it was cut off for longer than events are kept",
        () => proxy.cut(),
        async () => {
          await onlyLastEvent();
          proxy.mend();
        },
      ],
    ])("%s", async (_, breaks, mends) => {
      const { step: before } = await run().setState("running");
      await breaks();
      await expect
        .poll(async () => (await run().status()).step, { timeout: 60_000 })
        .toBeGreaterThanOrEqual(before + 13);
      await run().setState("paused");
      await mends();
      await stateOf(far, "paused");
      // What was under way at the pause may still be committed; the step comes with the next status, after the events.
      const rows = far
        .getByRole("region", { name: "Latest values" })
        .locator("tbody tr");
      await vi.waitFor(
        async () => {
          const metrics = await run().metrics();
          const total = `The latest values of mine, of ${metrics.length}`;
          expect(await far.getByText(total, { exact: true }).count()).toBe(1);
          const shown = (await rows.allInnerTexts()).map((row) =>
            row.split("\t").slice(0, 2).map(Number),
          );
          expect(shown).toEqual(
            metrics
              .slice(-12)
              .reverse()
              .map(({ step, trainLoss }) => [step, trainLoss]),
          );
          expect(await stepOf(far)).toBe(metrics.length);
        },
        { timeout: 30_000, interval: 200 },
      );
      const alerts = far.locator("[role=alert]:not(:empty)");
      await expect
        .poll(() => alerts.allInnerTexts(), { timeout: 20_000 })
        .toEqual([]);
    });
  });

  test.each([
    ["play", "SIMD, as Chromium", undefined],
    ["join", "relaxed SIMD", "Join"],
    ["replay", "relaxed SIMD", "Replay"],
  ])(
    "/%s in a browser that cannot run the kernels says what it lacks",
    async (name, lacks, button) => {
      const old = listened(await context.newPage(), edge.url, said);
      await old.route("**/*-worker.js", async (route) => {
        const answer = await route.fetch();
        const body = `WebAssembly.validate = () => false;${await answer.text()}`;
        await route.fulfill({ response: answer, body });
      });
      await old.goto(`${edge.url}/${name}?run=mine`);
      if (button) await old.getByRole("button", { name: button }).click();
      await old
        .getByText(`Expected a browser with WebAssembly`)
        .filter({ hasText: lacks })
        .first()
        .waitFor();
      await old.close();
      const { trainers } = await run().status();
      expect(trainers.map((each) => each.host)).not.toContain("browser");
    },
  );

  test("what its parameters write is shown when asked, and as it goes on", async () => {
    await page.getByLabel("Begin with").fill("All the");
    // Texts that cost nothing: there could be one a step.
    const events = [
      { text: " x" },
      { reason: "length", promptTokens: 1, tokens: 1 },
    ];
    const body = events.map((each) => `data: ${JSON.stringify(each)}\n\n`);
    await page.route("**/generate", (route) =>
      route.fulfill({ body: body.join("") }),
    );
    await page.getByLabel("As it goes on").selectOption("10");
    const steps = page.locator("#samples .quiet");
    await expect.poll(() => steps.count()).toBe(2);
    const [second, first] = (await steps.allInnerTexts()).map((text) =>
      Number(text.replace("step ", "")),
    );
    expect(second! - first!).toBeGreaterThanOrEqual(10);
    await page.getByLabel("As it goes on").selectOption("0");
    await page.unroute("**/generate");
    const phases = await page.locator("#phases tbody tr").allInnerTexts();
    const shares = phases.map((row) => Number.parseFloat(row.split("\t")[2]!));
    expect(shares).toHaveLength(4);
    const sum = shares.reduce((total, each) => total + each, 0);
    expect(sum).toBeGreaterThan(98);
    expect(sum).toBeLessThan(102);
    const row = page.locator("#trainers tr", { hasText: "edge-" });
    expect(await row.innerText()).toContain("Durable Object");
  });

  test("it is paused, goes on, is cancelled and exported", async () => {
    await page.getByRole("button", { name: "Pause" }).click();
    await stateOf(page, "paused");
    await page.getByRole("button", { name: "Resume" }).click();
    await stateOf(page, "running");
    await page.getByRole("button", { name: "Cancel" }).click();
    await stateOf(page, "cancelled");
    const { step } = await run().status();
    await expect.poll(() => stepOf(page)).toBe(step);
    for (const format of ["safetensors", "gguf-mxfp4"] as const) {
      const download = page.waitForEvent("download");
      await page.getByLabel("Export as").selectOption(format);
      await page.getByRole("button", { name: "Export" }).click();
      const saved = readFileSync(await (await download).path());
      const told = await (await run().checkpoint({ format })).arrayBuffer();
      expect(saved.equals(Buffer.from(told))).toBe(true);
      if (format === "safetensors")
        expect(readCheckpoint(saved).step).toBe(step);
    }
    for (const format of ["csv", "jsonl"] as const) {
      await page.getByLabel("Export as").selectOption(format);
      const saved = await savedBy(page, "Export");
      expect(saved.toString()).toBe(
        await (await run().metricsFile(format)).text(),
      );
    }
    await page.getByLabel("Begin with").fill("All the");
    await page.getByRole("button", { name: "Write" }).click();
    const asked = page.locator("#samples li").first();
    await expect.poll(() => asked.innerText()).toContain(`step ${step}`);
    const write = page.getByRole("button", { name: "Write" });
    await expect.poll(() => write.isEnabled()).toBe(true);
    let text = "All the";
    const sampling = { maxTokens: 60, temperature: 0.8, topK: 40 };
    const told = run().generate({ ...sampling, prompt: text, seed: step });
    for await (const piece of told) if ("text" in piece) text += piece.text;
    expect(await asked.locator("q").textContent()).toBe(text);
  });

  test("a second tab trains another run alone, to the same bytes, and leaves", async () => {
    const api = new Client({ baseUrl: edge.url });
    const { config } = await run().status();
    const { dataset, from: _, ...same } = config;
    const own = { run: "theirs", dataset: dataset.name, snapshotSteps: 4 };
    await api.createRun({ ...same, ...own });
    await page.getByRole("button", { name: "theirs" }).click();
    await page.getByLabel("Lay mine over the others").check();
    const invitation = "a link with which others join this run";
    expect(await copiedBy(page, "Copy an invitation", invitation)).toContain(
      `${edge.url}/join?run=theirs#join.`,
    );
    const opened = context.waitForEvent("page");
    await page.getByText("Join from this browser").click();
    const tab = listened(await opened, edge.url, said);
    await tab.getByLabel("Trainers", { exact: true }).fill("1");
    await tab.getByRole("button", { name: "Join" }).click();
    await untilStep(page, 12);
    await keep(tab, "join");
    expect(await faultsOf(tab)).toEqual([]);
    await tab.getByRole("button", { name: "Leave" }).click();
    await tab.locator("#trainers td", { hasText: "left" }).waitFor();
    const theirs = Number(await tab.locator("#trainers .done").innerText());
    await tab.close();
    const { trainers, step } = await api.run("theirs").status();
    expect(trainers).toHaveLength(1);
    // Leaving may cut off the answer to its last.
    expect([theirs, theirs + 1]).toContain(trainers[0]!.completions);
    const row = page.locator("#trainers tr", { hasText: "tab-" });
    expect(await row.innerText()).toContain("browser");
    const losses = async (name: string) =>
      (await api.run(name).metrics())
        .slice(0, Math.min(step, 12))
        .map(({ trainLoss, gradNorm, valLoss }) => [
          trainLoss,
          gradNorm,
          valLoss,
        ]);
    expect(await losses("theirs")).toEqual(await losses("mine"));
    // One that is closed in the middle of a step leaves too.
    await page.getByText("What happened").click();
    const left = page.locator(".news li", { hasText: "left" });
    expect(await left.count()).toBe(1);
    const closing = listened(await context.newPage(), edge.url, said);
    await closing.goto(`${edge.url}/join?run=theirs`);
    await closing.getByLabel("Trainers", { exact: true }).fill("1");
    await closing.getByRole("button", { name: "Join" }).click();
    await closing.locator("#trainers .done", { hasText: /[1-9]/ }).waitFor();
    await closing.close({ runBeforeUnload: true });
    await expect.poll(() => left.count()).toBe(2);
    await page.getByText("Cancel").click();
    await stateOf(page, "cancelled");
  });

  test("its steps are computed again here, and verified; a changed one is seen", async () => {
    await page.goto(`${edge.url}/?runs=mine`);
    await page.getByText("Replay steps").click();
    await page.getByLabel("Up to step").fill("3");
    await page.getByLabel("Its microbatch").fill("1");
    await page.getByRole("button", { name: "Replay" }).click();
    await page.getByText("4 steps computed again; none differs").waitFor();
    const steps = await page.locator("#steps tbody tr").allInnerTexts();
    const metrics = (await run().metrics()).slice(0, 4);
    expect(steps).toEqual(
      metrics
        .reverse()
        .map(({ step, trainLoss, gradNorm, valLoss }) =>
          [step, trainLoss, gradNorm, valLoss ?? "–", "verified"].join("\t"),
        ),
    );
    expect(await layersSeen(page)).toHaveLength(4);
    await keep(page, "replay");
    expect(await faultsOf(page)).toEqual([]);
    // What the run tells of one step, changed in its last bit on the way to the page.
    const nudged = (value: number | null) => value! * (1 + 2 ** -52);
    const lies: [number, (told: StepMetrics) => Partial<StepMetrics>][] = [
      [2, ({ gradNorm }) => ({ gradNorm: nudged(gradNorm) })],
      [1, ({ trainLoss }) => ({ trainLoss: nudged(trainLoss) })],
      [0, ({ valLoss }) => ({ valLoss: nudged(valLoss) })],
      // Over all else that a step comes to, such as the rates at which it learned.
      [3, ({ results }) => ({ results: results!.replace(/.$/, "x") })],
    ];
    for (const [step, lie] of lies) {
      const lines = metrics
        .toReversed()
        .map((each) =>
          JSON.stringify(each.step === step ? { ...each, ...lie(each) } : each),
        );
      await page.route("**/metrics", (route) =>
        route.fulfill({ body: lines.join("\n") }),
      );
      await page.getByRole("button", { name: "Replay" }).click();
      await page.getByText("1 of 4 steps differ").waitFor();
      const row = page.locator("#steps tr", { hasText: "differs" });
      expect(await row.locator("th").innerText()).toBe(String(step));
      await page.unroute("**/metrics");
    }
    // The link does it again.
    expect(page.url()).toBe(`${edge.url}/replay?run=mine&step=3&microbatch=1`);
    await page.reload();
    await page.getByRole("button", { name: "Replay" }).click();
    await page.getByText("4 steps computed again; none differs").waitFor();
  });

  test("a Llama is trained, and replayed under the microscope, as a GPT-2 is", async () => {
    await page.goto(edge.url);
    await page.locator("#new-run summary").click();
    await page.getByLabel("Id", { exact: true }).fill("llama");
    await page.getByRole("combobox", { name: /^Model/ }).selectOption("Llama");
    for (const [name, value] of Object.entries({ Layers: "1", Steps: "20" }))
      await page.getByLabel(name, { exact: true }).fill(value);
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await stateOf(page, "finished");
    await page.getByText("Llama, 1 layer of 64").waitFor();
    const llama = new Client({ baseUrl: edge.url }).run("llama");
    expect((await llama.status()).config.model.arch).toBe("llama");
    await page.getByLabel("Lay mine over the others").check();
    await page.getByRole("group", { name: /^Training .* mine \d/ }).waitFor();
    await keep(page, "compare");
    await page.getByRole("button", { name: "mine", exact: true }).click();
    await page
      .getByRole("group", { name: /^Training .* mine \S+ llama \d/ })
      .waitFor();
    await page.getByRole("button", { name: "llama", exact: true }).click();
    await page.getByText("Replay steps").click();
    await page.getByLabel("Up to step").fill("19");
    await page.getByRole("button", { name: "Replay" }).click();
    await page
      .getByText(
        "20 steps and the last evaluation computed again; none differs",
      )
      .waitFor();
    const end = page.locator("#steps tbody tr").first();
    const { valLoss } = await llama.status();
    expect(await end.innerText()).toBe(`20\t–\t–\t${valLoss}\tverified`);
    expect(await layersSeen(page)).toEqual(
      ["QKV", "attention out", "MLP gate and up", "MLP down"].map(
        (name) => `block 0, ${name}`,
      ),
    );
  });

  test("steps behind a state that the run keeps are computed again from there", async () => {
    const theirs = new Client({ baseUrl: edge.url }).run("theirs");
    const { step } = await theirs.status();
    const states = (await theirs.states()).filter((each) => each < step);
    const from = states.at(-1)!;
    expect(from).toBeGreaterThan(0);
    await page.goto(`${edge.url}/replay?run=theirs&from=state`);
    await page.getByLabel("Up to step").fill(String(step - 1));
    await page.getByRole("button", { name: "Replay" }).click();
    await page
      .getByText(`${counted(step - from, "step")} computed again; none differs`)
      .waitFor();
    const steps = await page.locator("#steps tbody th").allInnerTexts();
    expect(steps.at(-1)).toBe(String(from));
    await page.getByLabel("Up to step").fill("0");
    await page.getByRole("button", { name: "Replay" }).click();
    await expect
      .poll(() => page.locator("#said").innerText())
      .toMatch(
        states[0] === 0 ? "1 step computed again" : /^Expected a step from /,
      );
  });

  test.each([
    ["/play?distribution=outliers&rounding=stochastic&hadamard=64&seed=7", []],
    ["/play?scale=even", [LLAMA]],
    ["/play?rounding=stochastic", LLAMA_FOLDER],
  ])(
    "%s with %j shows the API's figures, and saves its file",
    async (path, paths) => {
      await page.goto(edge.url + path);
      if (paths.length > 0) {
        const input = paths.length > 1 ? "#directory" : "#file";
        await page.setInputFiles(
          input,
          paths.length > 1 ? dirname(LLAMA) : paths,
        );
        await page.locator("#inspection").waitFor();
        await page
          .getByRole("combobox", { name: /^Tensor/ })
          .selectOption(Q_PROJ);
      }
      await settled(page);
      const [analyze, quantize] = await Promise.all(
        ["analyze", "quantize"].map(
          async (name) =>
            (await page.locator(`#curl-${name}`).textContent())!.match(
              /http:[^']+/,
            )![0],
        ),
      );
      const body =
        paths.length > 0
          ? readFileSync(LLAMA)
          : await savedBy(page, "Download the draws");
      const { tensors } = (await (
        await fetch(analyze!, { method: "POST", body })
      ).json()) as Analysis;
      const rows = await page.evaluate<string[][]>(
        "Array.from(document.querySelectorAll('#figures tbody tr'), (row) => [row.dataset.scheme, ...[...row.cells].slice(1).map((cell) => cell.dataset.exact)])",
      );
      expect(tensors).toHaveLength(1);
      expect(rows).toEqual(
        tensors[0]!.schemes.map(
          ({ scheme, sqnrDb, mse, cosine, maxError, clipped, zeroed }) =>
            [scheme, sqnrDb, mse, cosine, maxError, clipped, zeroed].map(
              String,
            ),
        ),
      );
      const told = await (
        await fetch(quantize!, { method: "POST", body })
      ).arrayBuffer();
      const saved = await savedBy(page, "Download the file quantized");
      expect(saved.equals(Buffer.from(told))).toBe(true);
      if (paths.length === 0) await keep(page, "playground");
      expect(await faultsOf(page)).toEqual([]);
    },
  );

  test("the playground's link shows the same again, and its walk is the algorithms'", async () => {
    await page.goto(`${edge.url}/play`);
    await page.getByLabel("Or draw").selectOption("heavy");
    await page.getByLabel("Rotation").selectOption("128");
    await page.getByLabel("Walk through block").fill("3");
    await settled(page);
    const walk = await page.locator("#walk").innerText();
    const figures = await page.locator("#figures").innerText();
    const link = page.url();
    expect(new URL(link).search).toBe(
      "?hadamard=128&distribution=heavy&block=3",
    );
    expect(await copiedBy(page, "Copy the link", "the link")).toBe(link);
    const command = await page.locator("#curl-analyze").textContent();
    expect(await copiedBy(page, "Copy as curl", "the command")).toBe(command);
    await page.goto("about:blank");
    await page.goto(link);
    await settled(page);
    expect(await page.locator("#walk").innerText()).toBe(walk);
    expect(await page.locator("#figures").innerText()).toBe(figures);
    // Algorithm 1 of one block, as docs/kernels.md has it: the value over the scale, to the nearest of the grid.
    const grid = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
    const cells = await page.evaluate<number[][]>(
      "Array.from(document.querySelectorAll('#walk tbody tr'), (row) => [...row.cells].map((cell) => Number(cell.innerText)))",
    );
    expect(cells).toHaveLength(64);
    for (const [, scaled, element] of cells) {
      const size = Math.abs(scaled!);
      const nearest = Math.min(...grid.map((each) => Math.abs(each - size)));
      // Shown with four digits.
      expect(Math.abs(Math.abs(element!) - size)).toBeLessThanOrEqual(
        nearest + 1e-3,
      );
    }
  });

  test("a dropped file is read, and one that is none is refused in words", async () => {
    const drop = (name: string, bytes: Buffer) =>
      page.evaluate(`{
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.fromBase64("${bytes.toString("base64")}")], "${name}"));
        const target = document.querySelector(".drop");
        target.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
      }`);
    await page.goto(`${edge.url}/play`);
    await settled(page);
    const values = Buffer.from(new Float32Array(64).fill(1.25).buffer);
    const header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 32), }";
    const head = Buffer.from(
      `\x93NUMPY\x01\0v\0${header.padEnd(117)}\n`,
      "latin1",
    );
    await drop("ones.npy", Buffer.concat([head, values]));
    await page.getByText("64 elements", { exact: false }).first().waitFor();
    expect(await page.locator("#walk tbody th").first().innerText()).toBe(
      "1.25",
    );
    await drop("none.npy", Buffer.from("not an npy file"));
    await page
      .getByText(/^Expected .*, got/)
      .first()
      .waitFor();
    // Nothing of the file before stands for this one.
    await page.locator("#figures").waitFor({ state: "detached" });
    const download = page.getByText("Download the file quantized");
    await expect.poll(() => download.isDisabled()).toBe(true);
    await page.getByText("Back to a distribution").click();
    await settled(page);
  });

  describe("a directory with a folder in it", () => {
    let model: string;

    beforeAll(() => {
      model = join(folder, "model");
      cpSync(dirname(LLAMA), model, { recursive: true });
      mkdirSync(join(model, "original"));
      for (const name of ["config.json", "params.json"])
        writeFileSync(join(model, "original", name), "{}");
    });

    /** What the file manager lets go of over the page's heading, outside of the place for it. */
    async function drop(...files: string[]): Promise<void> {
      const session = await context.newCDPSession(page);
      const { x, y } = (await page.locator("h1").boundingBox())!;
      const data = { items: [], files, dragOperationsMask: 1 };
      for (const type of ["dragEnter", "dragOver", "drop"] as const)
        await session.send("Input.dispatchDragEvent", { type, x, y, data });
      await session.detach();
    }

    test.each([
      ["dropped", () => drop(model)],
      ["picked", () => page.setInputFiles("#directory", model)],
    ])("is looked at without that when %s", async (_, give) => {
      const asked: string[] = [];
      page.on("request", (request) => asked.push(request.url()));
      await page.goto(`${edge.url}/play`);
      await settled(page);
      await give();
      await page.locator("#inspection").waitFor();
      await settled(page);
      const names = page.getByRole("combobox", { name: /^File/ });
      expect((await names.locator("option").allInnerTexts()).sort()).toEqual(
        readdirSync(dirname(LLAMA)).sort(),
      );
      expect(await page.locator("#inspection").innerText()).toContain(
        "a linear layer, [out, in]",
      );
      // Without relaxed SIMD, which not every browser has.
      expect(asked.filter((url) => url.endsWith(".wasm"))).toEqual([
        `${edge.url}/pages/kernels-files.wasm`,
      ]);
    });

    test("is not taken with others", async () => {
      await drop(model, LLAMA);
      await page.getByText("Expected files, or one directory alone").waitFor();
    });
  });

  test("no page said anything that it should not", () => {
    expect(said).toEqual([]);
  });

  test("a run that is not there is told, and left out when asked", async () => {
    const lost = await context.newPage();
    await lost.goto(`${edge.url}/?runs=none`);
    await lost.getByText("There is no run none on this edge").waitFor();
    await lost.getByText("Leave it out").click();
    await lost.getByText("trains a small GPT-2 or Llama").waitFor();
    expect(lost.url()).toBe(`${edge.url}/`);
    await lost.close();
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
    const own = await site.chromium.newContext();
    const atDoor: string[] = [];
    const door = listened(await own.newPage(), closed.url, atDoor);
    try {
      await door.goto(`${closed.url}/`);
      await door.getByLabel("Its API token").fill(TOKEN);
      expect(await faultsOf(door)).toEqual([]);
      await door.getByText("Enter").click();
      await door.getByText("None yet").waitFor();
      expect(await own.cookies()).toEqual([]);
      await door.reload();
      await door.getByText("None yet").waitFor();
      await door.getByText("Forget the token").click();
      for (const path of ["/join", "/replay", "/"]) {
        await door.goto(closed.url + path);
        await door.getByLabel("Its API token").waitFor();
      }
      expect(atDoor).toEqual([]);
      await door.getByLabel("Its API token").fill("another");
      await door.getByText("Enter").click();
      await door.getByText("Expected the API_TOKEN").waitFor();
      await door.getByLabel("Its API token").fill(TOKEN);
      await door.getByText("Enter").click();
      await door.getByText("None yet").waitFor();
      // What has been let in is so again, once the edge answers.
      await door.route("**/version", (asked) => asked.abort());
      await door.reload();
      await door.getByText("The edge does not answer").waitFor();
      await door.unroute("**/version");
      await door.getByText("Ask again").click();
      await door.getByText("None yet").waitFor();
      // A page that is neither on https nor of this machine.
      await door.addInitScript(
        "Object.defineProperty(window, 'isSecureContext', { value: false })",
      );
      await door.goto(`${closed.url}/play`);
      await door.getByText("Copy the link").click();
      await door.getByText(`the link, to be copied: ${door.url()}`).waitFor();
      await door.goto(`${closed.url}/join?run=any#join.any`);
      await door.getByRole("button", { name: "Join" }).click();
      await door.getByText("Expected an edge on https").waitFor();
    } finally {
      await own.close();
      await closed.close();
    }
  });
});
