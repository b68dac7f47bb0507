/**
 * The playground with files and links as people have them: odd names, values that are no numbers, tensors without elements or
 * larger than memory, directories without files. Its commands are run as they stand, on an edge that is closed.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Analysis } from "../../src/api/tensors.ts";
import type { Running } from "../../src/local/edge.ts";
import { isBrowserExpected } from "../support/browser.ts";
import { faultsOf } from "../support/page-faults.ts";
import { type PagesSite, startPages } from "../support/pages-site.ts";

const TOKEN = "a-token-of-the-test";
const ODD = "it's odd 🦙.safetensors";
const NAMES = ["a,b", "*", "x y", "模型, it's *weird* & <b>%", "plain"];
/** Read in seconds. */
const LARGE_BYTES = 2 ** 28;

let site: PagesSite;
let folder: string;
let edge: Running;
let page: Page;
let said: string[];

type Tensor = { shape: number[]; values: readonly number[] };

/** Of F32. */
function safetensors(tensors: Record<string, Tensor>): Buffer {
  let end = 0;
  const head = Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const start = end;
      end += 4 * values.length;
      return [name, { dtype: "F32", shape, data_offsets: [start, end] }];
    }),
  );
  const text = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const data = Object.values(tensors).flatMap(({ values }) => values);
  return Buffer.concat([
    length,
    text,
    Buffer.from(new Float32Array(data).buffer),
  ]);
}

type Stored = Record<string, [dtype: string, shape: number[], bytes: number]>;

/** A safetensors file of zeros. */
function zeros(tensors: Stored): Buffer {
  let end = 0;
  const head = Object.entries(tensors).map(([name, [dtype, shape, bytes]]) => {
    const start = end;
    end += bytes;
    return [name, { dtype, shape, data_offsets: [start, end] }];
  });
  const text = Buffer.from(JSON.stringify(Object.fromEntries(head)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(end)]);
}

const wave = (seed: number) =>
  Array.from({ length: 128 }, (_, i) => Math.sin(seed + i * (seed + 1)));

/** A tensor that takes seconds, and one that takes none. */
function writeLarge(path: string): void {
  const large = { dtype: "F32", shape: [LARGE_BYTES / 256, 64] };
  const small = { dtype: "F32", shape: [2, 64] };
  const head = Buffer.from(
    JSON.stringify({
      large: { ...large, data_offsets: [0, LARGE_BYTES] },
      small: { ...small, data_offsets: [LARGE_BYTES, LARGE_BYTES + 512] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  writeFileSync(path, Buffer.concat([length, head]));
  truncateSync(path, 8 + head.length + LARGE_BYTES + 512);
}

async function settled(): Promise<void> {
  await expect
    .poll(() => page.locator("#busy").innerText(), { interval: 50 })
    .toBe("done");
}

async function choose(tensor: string): Promise<void> {
  await page.getByRole("combobox", { name: /^Tensor/ }).selectOption(tensor);
  await settled();
}

async function give(name: string): Promise<void> {
  await page.setInputFiles("#file", join(folder, name));
  await page.getByRole("combobox", { name: /^Tensor/ }).waitFor();
  await settled();
}

/** What a command of the page prints, in a shell that stands where the file is and has the token. */
async function ran(command: string): Promise<Buffer> {
  const text = (await page.locator(`#${command}`).textContent())!;
  const env = { ...process.env, MXFP4_EDGE_TOKEN: TOKEN };
  return execFileSync("sh", ["-c", text], { cwd: folder, env });
}

describe.skipIf(!isBrowserExpected)("the playground with odd files", () => {
  beforeAll(async () => {
    site = await startPages(TOKEN);
    ({ folder, edge, said } = site);
    page = await site.open();
    const odd = NAMES.map((name, i) => [
      name,
      { shape: [2, 64], values: wave(i) },
    ]);
    writeFileSync(join(folder, ODD), safetensors(Object.fromEntries(odd)));
    const zeros = Array.from({ length: 128 }, (_, i) => (i < 64 ? 0 : 6));
    writeFileSync(
      join(folder, "values.safetensors"),
      safetensors({
        half: { shape: [2, 64], values: zeros },
        none: { shape: [0, 64], values: [] },
        broken: {
          shape: [1, 64],
          values: [NaN, Infinity, ...wave(0).slice(2, 64)],
        },
      }),
    );
    writeLarge(join(folder, "large.safetensors"));
    mkdirSync(join(folder, "empty", "inner"), { recursive: true });
    writeFileSync(join(folder, "empty", "inner", "a.txt"), "");
  });

  afterAll(async () => {
    await site?.close();
  });

  test("its commands run as they stand, whatever a file and its tensors are called, and an npy becomes safetensors", async () => {
    await page.goto(`${edge.url}/play?rounding=stochastic&seed=3`);
    await give(ODD);
    for (const name of NAMES) {
      await choose(name);
      const { tensors } = JSON.parse(
        (await ran("curl-analyze")).toString(),
      ) as Analysis;
      const shown = await page.evaluate<string[]>(
        "Array.from(document.querySelectorAll('#figures tbody tr'), (row) => row.cells[2].dataset.exact)",
      );
      const own = tensors.find((each) => each.name === name)!;
      expect(own.schemes.map(({ mse }) => String(mse))).toEqual(shown);
    }
    const download = page.waitForEvent("download");
    await page
      .getByRole("button", { name: "Download the file quantized" })
      .click();
    const saved = await download;
    expect(saved.suggestedFilename()).toBe(`mxfp4-${ODD}`);
    await ran("curl-quantize");
    const told = readFileSync(join(folder, `mxfp4-${ODD}`));
    expect(readFileSync(await saved.path()).equals(told)).toBe(true);
    const npy =
      "\x93NUMPY\x01\0v\0" +
      "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 64), }".padEnd(
        117,
      ) +
      "\n";
    writeFileSync(
      join(folder, "wave.npy"),
      Buffer.concat([
        Buffer.from(npy, "latin1"),
        Buffer.from(new Float32Array(wave(1)).buffer),
      ]),
    );
    await give("wave.npy");
    await ran("curl-quantize");
    expect(
      readFileSync(join(folder, "mxfp4-wave.safetensors")).includes(
        "mxfp4.version",
      ),
    ).toBe(true);
  });

  test("a command that is refused ends so, and leaves no success behind", async () => {
    await give("values.safetensors");
    await expect(ran("curl-quantize")).rejects.toThrow(/error: 422/);
  });

  test("a file that cannot be quantized says why, as the API does", async () => {
    await give("values.safetensors");
    await page
      .getByRole("button", { name: "Download the file quantized" })
      .click();
    await page
      .locator("#said", {
        hasText:
          'Expected finite values in tensor "broken", got NaN at element 0',
      })
      .waitFor();
  });

  test("blocks of zeros do not stretch the axis of scales, and are told; a tensor without elements is refused", async () => {
    await give("values.safetensors");
    await choose("half");
    const chart = page.getByRole("img", { name: /^Scales of blocks/ });
    expect(await chart.getAttribute("aria-label")).toBe(
      "Scales of blocks: 4 blocks; most have 2^0; 2 have nothing but zeros",
    );
    expect(await chart.locator("text").allTextContents()).toEqual([
      "blocks: 2 at most",
      "0",
      "exponent of the scale, a power of two",
    ]);
    expect(await faultsOf(page)).toEqual([]);
    await choose("none");
    await page
      .getByText(/got none but .*"none" \(F32, without elements\)/)
      .waitFor();
    await page.locator("#figures").waitFor({ state: "detached" });
  });

  test("of a model's file the first matrix is looked at, not the bias before it", async () => {
    const file = "../fixtures/hf/gpt2/model.safetensors";
    await page.setInputFiles("#file", join(import.meta.dirname, file));
    const tensor = page.getByRole("combobox", { name: /^Tensor/ });
    await expect
      .poll(() => tensor.inputValue())
      .toBe("transformer.h.0.attn.c_attn.weight");
    await page.getByText("12,288 elements", { exact: false }).first().waitFor();
  });

  test("of FP8 and of blocks it is told that there are no floats, and of what is too short which files are read", async () => {
    const none = (got: string) =>
      `Expected a tensor of F64, F32, F16, BF16 with a dimension, got ${got}; of FP8 and MXFP4, \`mxfp4-edge dequantize\` makes one`;
    const short = (bytes: number) =>
      `Expected safetensors, .npy or GGUF, got a file of ${bytes} bytes`;
    const fp8: Stored = {
      "w.weight": ["F8_E4M3", [64, 64], 4096],
      "w.weight_scale_inv": ["F32", [1, 1], 4],
      "w.input_scale": ["F32", [1], 4],
    };
    const blocks: Stored = {
      x_blocks: ["U8", [2, 64, 2, 16], 4096],
      x_scales: ["U8", [2, 64, 2], 256],
    };
    const cases: [name: string, buffer: Buffer, told: string][] = [
      ["fp8.safetensors", zeros(fp8), none("F8_E4M3, F32")],
      ["blocks.safetensors", zeros(blocks), none("U8")],
      ["none.safetensors", zeros({}), none("no tensor")],
      ["empty.npy", Buffer.alloc(0), short(0)],
      ["empty.safetensors", Buffer.alloc(0), short(0)],
      ["cut.gguf", Buffer.from("GGUF"), short(4)],
    ];
    await page.goto(`${edge.url}/play`);
    for (const [name, buffer, told] of cases) {
      const mimeType = "application/octet-stream";
      await page.setInputFiles("#file", { name, mimeType, buffer });
      const alarms = async () =>
        (await page.locator("[role=alert]").allInnerTexts()).filter(Boolean);
      await expect.poll(alarms, { message: name }).toEqual([told]);
    }
    // Where there are others, the scale is none of them.
    const both = { ...fp8, other: ["F32", [2, 64], 512] } satisfies Stored;
    const [name, mimeType] = ["both.safetensors", "application/octet-stream"];
    await page.setInputFiles("#file", { name, mimeType, buffer: zeros(both) });
    await page.getByText("128 elements").first().waitFor();
    const names = page.getByRole("combobox", { name: /^Tensor/ });
    expect(await names.locator("option").allInnerTexts()).toEqual(["other"]);
  });

  test("a directory without files of its own is said to be none", async () => {
    await page.setInputFiles("#directory", join(folder, "empty"));
    await page
      .getByText("Expected a file or a directory of files, got neither")
      .waitFor();
  });

  test("what takes long shows that it is under way, and gives way to what is asked next", async () => {
    await page.goto(`${edge.url}/play`);
    await settled();
    await page.setInputFiles("#file", join(folder, "large.safetensors"));
    const progress = page.getByRole("progressbar", { name: "Of the tensor" });
    await progress.waitFor();
    expect(await page.locator("#busy").isVisible()).toBe(true);
    await expect
      .poll(() => progress.getAttribute("value").then(Number), { interval: 50 })
      .toBeGreaterThan(0);
    // Its Worker ends, and another answers.
    const another = page.waitForEvent("worker");
    await expect
      .poll(async () => {
        await page.getByLabel("Seed", { exact: true }).fill("1");
        await page
          .getByRole("combobox", { name: /^Tensor/ })
          .selectOption("small");
        return page.locator("#figures").count();
      })
      .toBe(1);
    await another;
    await settled();
    await page.getByText("128 elements", { exact: false }).first().waitFor();
    await page
      .getByRole("button", { name: "Download the file quantized" })
      .click();
    await page.locator("#said", { hasText: /quantizing… \d/ }).waitFor();
    // All else goes on meanwhile.
    await page.getByLabel("Walk through block").fill("1");
    await settled();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.locator("#said", { hasText: "stopped" }).waitFor();
  });

  test("the block that is walked through is told, and has the values and the noise of the file, in any row", async () => {
    const options = "rounding=stochastic&scale=floor&prescale=0.75&seed=5";
    await page.goto(`${edge.url}/play?rows=3&columns=96&block=9&${options}`);
    await settled();
    // Six blocks of 64, of rows that are padded to two each: the ninth is the third again.
    expect(await page.locator("#walked").innerText()).toBe(
      "Block 3, of 6 blocks from 0 on: row 1, columns 64 to 95.",
    );
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download the draws" }).click();
    const draws = readFileSync(await (await download).path());
    const post = async (route: string, body: BodyInit) => {
      const headers = { Authorization: `Bearer ${TOKEN}` };
      const url = `${edge.url}/v1/${route}`;
      const answer = await fetch(url, { method: "POST", headers, body });
      expect(answer.status).toBe(200);
      return answer.arrayBuffer();
    };
    const file = await post(`quantize?${options}`, draws);
    const decoded = await post("dequantize", file);
    const valuesOf = (bytes: ArrayBuffer) =>
      Array.from(new Float32Array(bytes.slice(-4 * 3 * 96))).slice(160, 192);
    const shown = await page.evaluate<number[][]>(
      "Array.from(document.querySelectorAll('#walk tbody tr'), (row) => [0, 6].map((cell) => Number(row.cells[cell].innerText)))",
    );
    const [x, y] = [new Uint8Array(draws).buffer, decoded].map(valuesOf);
    expect(shown).toHaveLength(32);
    for (const [i, [before, after]] of shown.entries()) {
      expect(before).toBeCloseTo(x![i]!, 3);
      expect(after).toBeCloseTo(y![i]!, 3);
    }
  });

  test("a saved file is called by its format", async () => {
    await page.goto(`${edge.url}/play?format=mxfp8-e4m3`);
    await settled();
    const download = page.waitForEvent("download");
    await page
      .getByRole("button", { name: "Download the file quantized" })
      .click();
    const name = "mxfp8-e4m3-drawn.safetensors";
    expect((await download).suggestedFilename()).toBe(name);
    expect(await page.locator("#curl-quantize").textContent()).toContain(
      `-o '${name}'`,
    );
  });

  test("what the browser does not let into the clipboard is shown", async () => {
    await page.evaluate(
      "navigator.clipboard.writeText = () => Promise.reject(new DOMException('Not now', 'NotAllowedError'))",
    );
    await page.getByRole("button", { name: "Copy the link" }).click();
    await page
      .locator("#said", { hasText: `the link, to be copied: ${page.url()}` })
      .waitFor();
  });

  test("what a link says and cannot be is told, and the default is shown", async () => {
    await page.goto(
      `${edge.url}/play?scale=bogus&rows=0&columns=5000&distribution=toString&seed=7`,
    );
    await settled();
    const told = await page.locator("[role=alert]:not(:empty)").allInnerTexts();
    expect(
      told.map((text) => /`(\w+)` of the link to be/.exec(text)?.[1]),
    ).toEqual(["scale", "distribution", "rows", "columns"]);
    expect(told[2]).toBe(
      'Expected `rows` of the link to be a whole number from 1 to 4096, got "0"; the default is shown',
    );
    await page.getByText("65,536 elements").first().waitFor();
    expect(page.url()).toBe(`${edge.url}/play?seed=7`);
    expect(await faultsOf(page)).toEqual([]);
  });

  test("the page said nothing that it should not", () => {
    expect(said).toEqual([]);
  });
});
