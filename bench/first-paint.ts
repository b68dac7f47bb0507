/** `node bench/first-paint.ts`: ms to the first contentful paint of each page of a local edge, by the browser's own clock. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startEdge } from "../src/local/edge.ts";
import { ensureBuilt } from "../src/scripts/build/target.ts";
import { BUILD_TARGETS } from "../src/scripts/build/targets.ts";
import { launchBrowser } from "../test/support/browser.ts";

const PAGES = ["/", "/play", "/join", "/replay"];
const ROUNDS = 5;
const TOLD_MS = 1_000;

const { worker, pages } = BUILD_TARGETS;
await ensureBuilt(worker, pages);
const stateFolder = mkdtempSync(join(tmpdir(), "mxfp4-paint-"));
const edge = await startEdge({ stateFolder, quiet: true, pages: true });
const browser = await launchBrowser();
try {
  for (const path of PAGES) {
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // Its own cache: as whoever comes for the first time.
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(edge.url + path);
      await page.waitForTimeout(TOLD_MS);
      times.push(
        await page.evaluate<number>(
          "performance.getEntriesByName('first-contentful-paint')[0].startTime",
        ),
      );
      await context.close();
    }
    const sorted = times.sort((a, b) => a - b).map(Math.round);
    console.log(
      `${path}: ${sorted[(ROUNDS - 1) / 2]} ms (${sorted.join(", ")})`,
    );
  }
} finally {
  await browser.close();
  await edge.close();
  rmSync(stateFolder, { recursive: true, force: true });
}
