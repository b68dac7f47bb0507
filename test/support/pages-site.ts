/** What tests of pages begin and end with: a local edge that serves them, and a browser in which they are opened. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { launchBrowser } from "./browser.ts";
import { DESK, listened } from "./page-faults.ts";

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
