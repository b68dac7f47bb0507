/** Values that are not finite: refused over HTTP where the answer can be held, told in its metadata where kept. */
import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { JobRequest } from "../../src/api/tensors.ts";
import { createJob, finish, names, putFile } from "../support/jobs.ts";
import { bytesOf, problemOf } from "./support.ts";
import { f32, fileOf, named, post, read, u8 } from "./tensor-support.ts";

const values = new Float32Array(96).fill(1);
values[40] = NaN;
values[70] = -Infinity;
const FLOATS = fileOf([f32("w", [3, 32], values)]);
const BLOCKS = fileOf([
  u8("w_blocks", [2, 1, 16], Array(32).fill(0x22)),
  u8("w_scales", [2, 1], [127, 255]),
]);

const CASES = [
  ["quantize", "", FLOATS, "NaN at element 40, [1, 8]", [2, 40]],
  ["hadamard", "hadamard=32", FLOATS, "NaN at element 40, [1, 8]", [2, 40]],
  ["dequantize", "", BLOCKS, "NaN at element 32, [1, 0]", [32, 32]],
  [
    "repack",
    "to=quark",
    BLOCKS,
    "scale byte 255, at element 32, [1, 0]",
    [1, 32],
  ],
] as const;

describe.each(CASES)("%s %s", (route, query, body, said, [count, first]) => {
  test("is refused, with the tensor and the element", async () => {
    for (const told of ["", "nonfinite=stop"]) {
      const { detail } = await problemOf(
        await post(`/v1/${route}?${query}&${told}`.replace(/[?&]+$/, ""), body),
        422,
        "nonfinite_value",
      );
      expect(detail).toContain('in tensor "w", got ');
      expect(detail).toContain(said);
    }
  });

  test("keeps them when told to, and says what it kept", async () => {
    const path = `/v1/${route}?${query}&nonfinite=keep`.replace("?&", "?");
    const { metadata, tensors } = await read(await post(path, body));
    const key = route === "quantize" ? "mxfp4.nonfinite" : "nonfinite";
    expect(JSON.parse(metadata.get(key)!)).toEqual({
      w: { values: count, first },
    });
    expect(tensors.length).toBeGreaterThan(0);
  });
});

test("of a file without any, keep changes no byte", async () => {
  const body = fileOf([f32("w", [64], new Float32Array(64).fill(1))]);
  const plain = await bytesOf(await post("/v1/quantize", body));
  const kept = await bytesOf(await post("/v1/quantize?nonfinite=keep", body));
  expect(kept).toEqual(plain);
});

test("an answer that has begun breaks off, or says that it did not look", async () => {
  const rows = 2 ** 17;
  const body = new Uint8Array(rows * 32 * 2);
  body.fill(0xff, body.length - 2);
  const path = `/v1/quantize?dtype=bf16&shape=${rows},32`;
  const file = await read(await post(`${path}&nonfinite=keep`, body));
  expect(file.metadata.get("mxfp4.nonfinite")).toBe("unchecked");
  expect(named(file, "x_scales").bytes.at(-1)).toBe(255);
  const broken = await post(path, body);
  expect(broken.status).toBe(200);
  await expect(broken.arrayBuffer()).rejects.toThrow("nonfinite");
});

describe("a job", () => {
  afterEach(() => reset());

  const jobOf = async (options: JobRequest["options"]) => {
    await putFile("source", FLOATS);
    const request = { operation: "quantize", source: "source", result: "out" };
    await createJob({ ...request, clientKey: "job", options } as JobRequest);
    return finish("job");
  };

  test("fails with the tensor and the element, and leaves no result", async () => {
    expect(await jobOf({})).toMatchObject({
      state: "failed",
      error: {
        code: "nonfinite_value",
        detail: expect.stringContaining('tensor "w", got NaN at element 40,'),
      },
    });
    expect(await names()).toEqual(["source"]);
  });

  test("keeps them when told to", async () => {
    expect(await jobOf({ nonfinite: "keep" })).toMatchObject({
      state: "finished",
    });
    expect(await names()).toEqual(["out", "source"]);
  });
});
