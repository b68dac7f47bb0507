/** What tests of pages begin and end with: a local edge that serves them, and a browser in which they are opened. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { vi } from "vitest";
import type { RunRequest } from "../../src/api/run-config.ts";
import { hasEnded } from "../../src/api/run-status.ts";
import type { Client } from "../../src/client/client.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { launchBrowser } from "./browser.ts";
import { DESK, listened } from "./page-faults.ts";
import { tinyRun } from "./tiny-run.ts";

/** For what a page shows in the end, on a machine that does other things. */
export const PATIENCE_MS = 120_000;

export type PagesSite = {
  /** Of the test's own; the edge's state is within. */
  folder: string;
  edge: Running;
  chromium: Browser;
  /** What pages of `open` have said on the console, what failed, and who else was asked. */
  said: string[];
  /** An empty page of a reader of its own, at a desk, who has brought `token` or none. */
  open(token?: string, options?: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
};

/** The edge is closed where there is a token. Errors: those of a browser that is not there */
export async function startPages(token?: string): Promise<PagesSite> {
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-pages-test-"));
  const stateFolder = join(folder, "state");
  const [edge, chromium] = await Promise.all([
    startEdge({ stateFolder, quiet: true, pages: true, token }),
    launchBrowser(),
  ]);
  const said: string[] = [];
  return {
    folder,
    edge,
    chromium,
    said,
    async open(brought, options) {
      const context = await chromium.newContext({ viewport: DESK, ...options });
      context.setDefaultTimeout(PATIENCE_MS);
      if (brought !== undefined)
        await context.addInitScript(
          `if (location.host) sessionStorage.setItem("mxfp4-edge token", "${brought}")`,
        );
      return listened(await context.newPage(), edge.url, said);
    },
    async close() {
      await chromium.close();
      await edge.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A tiny run to its end, by one trainer of the edge. */
export async function trainTinyRun(
  api: Client,
  run: string,
  changes?: Partial<RunRequest>,
): Promise<void> {
  await api.createRun(tinyRun(run, changes));
  await api.run(run).addTrainers(1);
  await vi.waitFor(
    async () => {
      const { state } = await api.run(run).status();
      if (!hasEnded(state)) throw new Error(`Expected an end, got ${state}`);
    },
    { timeout: PATIENCE_MS, interval: 100 },
  );
}
