import "../support/kernels-node.ts";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { computeDigests, DIGESTS } from "../support/same-bytes.ts";

const PRINTER = join(import.meta.dirname, "../support/print-digests.ts");

/** In a process of its own, whose V8 pairs vectors where it can, and optimizes at once. */
async function digestsOfWideVectors(): Promise<Record<string, string>> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--no-liftoff",
    PRINTER,
  ]);
  return JSON.parse(stdout);
}

test.each([
  ["on vectors of 128 bits", computeDigests],
  ["on those that it pairs", digestsOfWideVectors],
])(
  "Node computes %s the bytes that are pinned, as workerd does",
  async (_, compute) => {
    const digests = await compute();
    // A machine without fused multiply-add has gradients of its own, and runs refuse to mix them.
    expect(DIGESTS).toMatchObject(
      Object.fromEntries(
        Object.entries(digests).filter(([name]) => !name.endsWith("nofma")),
      ),
    );
    expect(digests["product accumulating"]).toBe(digests["product pairwise"]);
  },
);
