import "../support/kernels-node.ts";
import { expect, test } from "vitest";
import { computeDigests, DIGESTS } from "../support/same-bytes.ts";

test("Node computes the bytes that are pinned, as workerd does", async () => {
  const digests = await computeDigests();
  // A machine without fused multiply-add has gradients of its own, and runs refuse to mix them.
  expect(DIGESTS).toMatchObject(
    Object.fromEntries(
      Object.entries(digests).filter(([name]) => !name.endsWith("nofma")),
    ),
  );
  expect(digests["product accumulating"]).toBe(digests["product pairwise"]);
});
