/** What an edge on a machine of one's own may hold: more than the platform's isolate where it is told so. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MODEL_PRESETS } from "../../src/cli/train/presets.ts";
import { Client } from "../../src/client/client.ts";
import { startEdge } from "../../src/local/edge.ts";
import { isolateMib } from "../../src/local/isolate-mib.ts";
import { limitsOf } from "../../src/memory/ledger.ts";

const GIB = 1024 ** 3;

test("an edge on this machine takes a sixteenth of its memory, the platform's 128 MiB at least and 1 GiB at most", () => {
  expect([1, 4, 8, 64].map((gib) => isolateMib(gib * GIB))).toEqual([
    128, 256, 512, 1024,
  ]);
});

test("less than the platform's memory, or what is no number of MiB, is refused", () => {
  for (const mib of [127, 0, -256, 200.5, Number.NaN])
    expect(() => limitsOf(mib)).toThrow(
      `Expected the isolate's memory as whole MiB, 128 or more, got ${mib}`,
    );
  expect(limitsOf(256).totalBytes).toBe(2 * limitsOf(128).totalBytes);
});

/** In bytes, once each shard of a medium run has been pulled. */
async function heldBytes(mib?: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-isolate-mib-"));
  const edge = await startEdge({
    stateFolder: folder,
    quiet: true,
    ...(mib !== undefined && { isolateMib: mib }),
  });
  try {
    const client = new Client({ baseUrl: edge.url });
    await client.putDataset("text", new Blob(["It was. ".repeat(1000)]));
    const model = MODEL_PRESETS.medium;
    const { run, shards } = await client.createRun({
      dataset: "text",
      model,
      steps: 1,
    });
    for (const { index } of shards) {
      const path = `/v1/runs/${run}/shards/${index}/parameters?step=0`;
      const answer = await fetch(edge.url + path);
      expect(answer.status).toBe(200);
      await answer.arrayBuffer();
    }
    const told = await (await fetch(`${edge.url}/metrics`)).text();
    return Number(/memory_held_bytes (\d+)/.exec(told)![1]);
  } finally {
    await edge.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

test("shards that have no room in the platform's isolate side by side stay where there is more", async () => {
  const { totalBytes } = limitsOf(128);
  expect(await heldBytes()).toBeLessThanOrEqual(totalBytes);
  expect(await heldBytes(512)).toBeGreaterThan(totalBytes);
});
