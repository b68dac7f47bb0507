import { describe, expect, test } from "vitest";
import { noiseKey, PURPOSE } from "../../src/kernels/noise.ts";
import { hadamard } from "../reference/mxfp4.ts";
import { expectClose } from "../support/close.ts";
import { ggufFile } from "../support/gguf-bytes.ts";
import { signs } from "../support/mxfp4.ts";
import { normals } from "../support/random.ts";
import { problemOf } from "./support.ts";
import {
  f32,
  fileInOrder,
  floats,
  named,
  post,
  read,
  u8,
} from "./tensor-support.ts";

const IDS = u8("ids", [3], [1, 2, 3]);

describe("POST /v1/hadamard", () => {
  test.each([16, 32, 64, 128, 256] as const)(
    "segments of %i are rotated by the seed's signs and H, and back by the inverse",
    async (length) => {
      const values = normals(512, length);
      const query = `hadamard=${length}&seed=11`;
      const file = await read(
        await post(
          `/v1/hadamard?${query}`,
          fileInOrder([f32("x", [2, 256], values), IDS]),
        ),
      );
      const drawn = signs(length, noiseKey(11, PURPOSE.fileSigns));
      expectClose(floats(file, "x"), hadamard(values, length, drawn), 1e-5);
      expect(named(file, "ids")).toEqual(IDS);

      const back = await read(
        await post(
          `/v1/hadamard?direction=inverse&${query}`,
          fileInOrder([f32("x", [2, 256], floats(file, "x"))]),
        ),
      );
      expect(named(back, "x").shape).toEqual([2, 256]);
      expectClose(floats(back, "x"), values, 1e-5);
    },
  );

  test("raw bf16 comes back as f32", async () => {
    const file = await read(
      await post("/v1/hadamard?dtype=bf16&shape=64", new Uint8Array(128)),
    );
    expect(named(file, "x")).toMatchObject({ dtype: "F32", shape: [64] });
  });

  test("a last dimension of part segments is refused", async () => {
    const body = fileInOrder([f32("x", [64, 48], normals(64 * 48, 1))]);
    const problem = await problemOf(
      await post("/v1/hadamard", body),
      422,
      "shape_mismatch",
    );
    expect(problem.detail).toContain("multiple of 64, got 48");
    await read(await post("/v1/hadamard?hadamard=16", body));
    await problemOf(
      await post("/v1/hadamard?exclude=x", body),
      422,
      "nothing_to_convert",
    );
    await problemOf(
      await post("/v1/hadamard?hadamard=0", body),
      422,
      "invalid_option",
    );
    await problemOf(
      await post("/v1/hadamard?direction=up", body),
      422,
      "invalid_option",
    );
  });

  test("GGUF is refused with what was expected, and why", async () => {
    const tensor = {
      name: "w.weight",
      dimensions: [64, 1],
      type: 0,
      bytes: new Uint8Array(256),
    };
    const { detail } = await problemOf(
      await post("/v1/hadamard", ggufFile([tensor])),
      415,
      "unsupported_media_type",
    );
    expect(detail).toBe(
      "Expected safetensors, .npy or raw values to rotate, got GGUF, whose readers would not rotate back; rotate the checkpoint that it is made of",
    );
  });
});
