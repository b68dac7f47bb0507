/**
 * /docs as a reader uses it: every operation is opened and executed as its form stands, with a file of
 * the reader's own where it takes one. No panel of errors, nothing in the console, nothing wider than
 * the page, neither on a desk nor on a phone.
 */
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeHead } from "../../src/formats/containers/safetensors-writer.ts";
import type { Dtype } from "../../src/formats/dtype.ts";
import type { Running } from "../../src/local/edge.ts";
import { browser, isBrowserExpected } from "../support/browser.ts";
import { faultsOf } from "../support/page-faults.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";
import { gradientFor, NEEDS_LEASE, ORDER } from "../support/openapi.ts";
import { putExampleModel } from "../support/text-models.ts";

const PHONE = 360;
const DESK = 1280;

let site: PagesSite;
let edge: Running;
let page: Page;
/** What the console said, and what failed. */
const said: string[] = [];

/** A file of the reader's own, which no example is: its tensors are zeros. */
function fileOf(dtype: Dtype, shapes: Record<string, number[]>): Uint8Array {
  const tensors = Object.entries(shapes).map(([name, shape]) => ({
    name,
    dtype,
    shape,
  }));
  const { head, dataBytes } = writeHead(tensors, new Map());
  return Buffer.concat([head, new Uint8Array(dataBytes)]);
}

const operands = fileOf("F32", { a: [3, 64], b: [2, 64] });
const pair = fileOf("U8", { "w.blocks": [2, 1, 16], "w.scales": [2, 1] });
const FILES: Record<string, () => Promise<Uint8Array> | Uint8Array> = {
  quantize: () => operands,
  dequantize: () => pair,
  repack: () => pair,
  analyze: () => operands,
  hadamard: () => operands,
  gemm: () => operands,
  putFile: () => operands,
  putPart: () => new Uint8Array(UPLOAD.bytes),
  putDataset: () =>
    new TextEncoder().encode("All the world's a stage. ".repeat(99)),
  async pushGradient() {
    const path = "/v1/runs/example/shards/0/parameters?step=0";
    const response = await fetch(edge.url + path);
    return gradientFor(new Uint8Array(await response.arrayBuffer()));
  },
};

/** As the example of `beginUpload` has it. */
const UPLOAD = { bytes: 1000, partBytes: 5 * 1024 * 1024 };

/** `completeUpload` has ended what `abortUpload` takes back. */
async function beginUpload(): Promise<void> {
  const response = await fetch(
    `${edge.url}/v1/files/example/model.safetensors/uploads`,
    {
      method: "POST",
      body: JSON.stringify(UPLOAD),
    },
  );
  expect(response.status).toBe(201);
}

/** What has no default, and must be told. */
const CHOSEN: Record<string, [parameter: string, value: string]> = {
  repack: ["to", "compressed-tensors"],
};

/** What the reader has copied from the answer to `takeLease`. */
let key: string;

/** The first example of this one pauses the run, whose events would go on for minutes. */
async function cancelRun(): Promise<void> {
  const response = await fetch(`${edge.url}/v1/runs/example`, {
    method: "PATCH",
    body: '{"state":"cancelled"}',
  });
  expect(response.status).toBe(200);
}

describe.skipIf(!isBrowserExpected)("/docs in a browser", () => {
  beforeAll(async () => {
    expect(browser, "a browser").toBeDefined();
    site = await startPages();
    ({ edge } = site);
    await putExampleModel(edge.url);
    page = await site.chromium.newPage();
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", ({ message }) => said.push(message));
    page.on("requestfailed", (request) => said.push(request.url()));
    await page.setViewportSize({ width: DESK, height: 900 });
    await page.goto(`${edge.url}/docs`);
    await page.locator(".opblock").first().waitFor();
  });

  afterAll(async () => {
    await site?.close();
  });

  test("every operation is shown, and fits", async () => {
    expect(await page.locator(".opblock").count()).toBe(ORDER.length);
    await expectFit();
  });

  test("one comes back from it, and axe finds nothing where an operation is open", async () => {
    const pages = page.getByRole("navigation", { name: "Pages" });
    expect(await pages.getByRole("link").allInnerTexts()).toEqual([
      "Runs",
      "Playground",
      "Join",
      "Replay",
      "API",
    ]);
    const block = page.locator('.opblock[id$="-quantize"]');
    await block.locator(".opblock-summary-control").click();
    // The whole page takes axe a while.
    const parts = [
      "header",
      ".information-container",
      ".scheme-container",
      ".opblock.is-open",
      "#operations-service-health",
    ];
    expect(await faultsOf(page, parts)).toEqual([]);
    await page.emulateMedia({ colorScheme: null });
    await block.locator(".opblock-summary-control").click();
  });

  test("what is opened is resolved from a part of the description, to what the whole makes of it", async () => {
    // Both are the page's own globals.
    const faults = await page.evaluate<string[]>(`(async () => {
      const url = location.origin + "/openapi.json";
      const spec = await (await fetch(url)).json();
      const domNode = document.createElement("div");
      const { fn } = SwaggerUIBundle({ domNode, spec }).getSystem();
      const resolved = async (part, path) => {
        const { spec, errors } = await fn.resolveSubtree(part, path, { baseDoc: url });
        return JSON.stringify([spec, errors]);
      };
      const { spec: whole } = await fn.resolveSubtree(spec, [], { baseDoc: url });
      const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => ["paths", path, method]));
      const opened = [...operations, ["components", "securitySchemes"], ["components", "schemas"]];
      const faults = [];
      for (const path of opened) {
        const part = partOf(spec, path);
        const expected = path.reduce((at, key) => at[key], whole);
        if (await resolved(part, path) !== JSON.stringify([expected, []]))
          faults.push("another: " + path.join(" "));
        const share = JSON.stringify(part).length / JSON.stringify(spec).length;
        if (share > (path[1] === "schemas" ? 0.4 : 0.2))
          faults.push(path.join(" ") + ": " + share);
      }
      return operations.length === ${ORDER.length} ? faults : ["operations: " + operations.length];
    })()`);
    expect(faults).toEqual([]);
    // And it is this that the page resolves.
    await page.evaluate(`{
      window.asked = [];
      const own = partOf;
      partOf = (spec, path) => {
        window.asked.push(path.join(" "));
        return own(spec, path);
      };
    }`);
    const summary = page.locator(
      '.opblock[id$="-serviceMetrics"] .opblock-summary-control',
    );
    await summary.click();
    await expect
      .poll(() => page.evaluate<string[]>("window.asked"))
      .toEqual(["paths /metrics get"]);
    await summary.click();
  });

  test.each(ORDER)("%s is executed as its form stands", async (id) => {
    if (id === "abortUpload") await beginUpload();
    // `deleteFile` took what it had.
    if (id === "deleteFolder")
      await fetch(`${edge.url}/v1/files/example/x`, {
        method: "PUT",
        body: "x",
      });
    const block = page.locator(`.opblock[id$="-${id}"]`);
    await block.locator(".opblock-summary-control").click();
    await block.locator(".try-out__btn").click();
    const file = block.locator("input[type=file]");
    expect(await file.count()).toBe(id in FILES ? 1 : 0);
    if (id in FILES) {
      const buffer = Buffer.from(await FILES[id]!());
      const mimeType = "application/octet-stream";
      await file.setInputFiles({ name: "mine", mimeType, buffer });
    }
    if (id in CHOSEN) {
      const [parameter, value] = CHOSEN[id]!;
      const row = block.locator(`tr[data-param-name="${parameter}"]`);
      await row.locator("select").selectOption(value);
    }
    if (NEEDS_LEASE.has(id))
      await block.locator('tr[data-param-name="Lease-Key"] input').fill(key);
    await block.locator(".execute").click();
    const status = block.locator(".live-responses-table .response-col_status");
    await status.last().waitFor();
    expect(await status.last().innerText()).toMatch(/^20\d/);
    await expectFit();
    if (id === "takeLease") {
      const text = await block
        .locator(".live-responses-table .response-col_description")
        .last()
        .innerText();
      key = /"key": "([^"]+)"/.exec(text)![1]!;
    }
    if (id === "setRunState") await cancelRun();
    await block.locator(".opblock-summary-control").click();
    expect(said).toEqual([]);
  });
});

async function expectFit(): Promise<void> {
  expect(await page.locator(".errors-wrapper").count()).toBe(0);
  for (const width of [PHONE, DESK]) {
    await page.setViewportSize({ width, height: 900 });
    const wider = await page.evaluate(
      "document.documentElement.scrollWidth - innerWidth",
    );
    expect(wider, `at ${width}`).toBeLessThanOrEqual(0);
  }
}
