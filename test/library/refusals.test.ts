/** What the library is given: options and bodies are checked as the edge checks them, streams given back. */
import { describe, expect, test } from "vitest";
import type { TensorBody } from "../../src/api/tensors.ts";
import { analyze, dequantize, hadamard, quantize } from "../../src/index.ts";
import { normals } from "../support/random.ts";

const VALUES = normals(256, 1);
const BYTES = new Uint8Array(VALUES.buffer);
const raw = { dtype: "f32", shape: [4, 64] } as const;

type Operation = (body: TensorBody, options?: never) => Promise<unknown>;
const OPERATIONS = { quantize, dequantize, hadamard, analyze } as Record<
  string,
  Operation
>;

const call = (operation: string, body: unknown, options?: unknown) =>
  OPERATIONS[operation]!(body as TensorBody, options as never);

const bytesOf = async (answer: Promise<Response>) =>
  new Uint8Array(await (await answer).arrayBuffer());

/** A stream, and whether it was cancelled. */
function streamOf(...chunks: unknown[]) {
  const seen = { cancelled: false, pulls: 0 };
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        seen.pulls++;
        if (chunks.length === 0) controller.close();
        else controller.enqueue(chunks.shift() as Uint8Array);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, seen };
}

describe("options", () => {
  test.each([
    [
      "quantize",
      { scael: "floor" },
      /^Expected options `preset`, .* got `scael`$/,
    ],
    [
      "quantize",
      { scale: "foo" },
      'Expected `scale` to be one of floor, rceil, ceil, even, mse, got "foo"',
    ],
    ["quantize", { scale: null }, /to be one of floor, .* got null$/],
    [
      "quantize",
      { hadamard: 48 },
      "Expected `hadamard` to be one of 0, 16, 32, 64, 128, 256, got 48",
    ],
    ["quantize", { hadamard: "64" }, /`hadamard` .* got "64"$/],
    [
      "quantize",
      { seed: -1 },
      "Expected `seed` to be a whole number from 0 to 2^53 − 1, got -1",
    ],
    ["quantize", { seed: 1.5 }, /`seed` .* got 1.5$/],
    ["quantize", { seed: NaN }, /`seed` .* got NaN$/],
    ["quantize", { seed: 2 ** 53 }, /`seed` .* got 9007199254740992$/],
    ["quantize", { seed: 7n }, /`seed` .* got 7n$/],
    [
      "quantize",
      { prescale: 2 },
      "Expected `prescale` to be one of 1, 0.75, got 2",
    ],
    ["quantize", { minScale: true }, /`minScale` .* got true$/],
    ["quantize", { "min-scale": 1 }, /got `min-scale`$/],
    [
      "quantize",
      { layout: "ct" },
      /`layout` to be one of gpt-oss, .* got "ct"$/,
    ],
    [
      "quantize",
      { preset: "ours" },
      /`preset` to be one of ocp, .* got "ours"$/,
    ],
    ["quantize", { preset: "toString" }, /got "toString"$/],
    [
      "quantize",
      { include: "*.weight" },
      'Expected `include` to be an array of patterns, got "*.weight"',
    ],
    ["quantize", { include: [1] }, /`include` .* got \[1\]$/],
    [
      "quantize",
      { exclude: [""] },
      /`exclude` to be a pattern of 1 to 256 .* got 0$/,
    ],
    [
      "quantize",
      { include: Array(33).fill("a") },
      /at most 32 times, got it 33/,
    ],
    ["quantize", { raw: { dtype: "f32" } }, /`raw.shape` .* got nothing$/],
    [
      "quantize",
      { raw: { ...raw, dtype: "F32" } },
      /`raw.dtype` .* got "F32"$/,
    ],
    [
      "quantize",
      { raw: { ...raw, shape: [-1] } },
      /`raw.shape` .* got \[-1\]$/,
    ],
    ["quantize", { raw: { ...raw, shape: [] } }, /`raw.shape` .* got \[\]$/],
    ["quantize", { raw: { ...raw, name: "w" } }, /`raw` of .* got `name`$/],
    ["quantize", { raw: "f32" }, /`raw` to be an object, got "f32"$/],
    ["quantize", null, "Expected options to be an object, got null"],
    ["quantize", [], "Expected options to be an object, got []"],
    ["quantize", "scale=even", /to be an object, got "scale=even"$/],
    ["dequantize", { dtype: "f64" }, /`dtype` to be one of f32, bf16, f16/],
    [
      "dequantize",
      { seed: 1 },
      "Expected options `dtype`, `nonfinite`, got `seed`",
    ],
    ["hadamard", { hadamard: 0 }, /`hadamard` to be one of 16, .* got 0$/],
    ["hadamard", { direction: "back" }, /`direction` .* got "back"$/],
    ["hadamard", { preset: "paper" }, /got `preset`$/],
    [
      "analyze",
      { compare: "ocp,paper" },
      /`compare` to be an array .* got "ocp,paper"$/,
    ],
    ["analyze", { compare: [] }, /`compare` to be an array .* got \[\]$/],
    ["analyze", { compare: ["nvfp4"] }, /`compare` to have .* got "nvfp4"$/],
    ["analyze", { compare: ["scale=up"] }, /scale as one of .* got "up"$/],
    ["analyze", { layout: "ggml" }, /got `layout`$/],
  ])(
    "%s with %o is refused, and its stream is given back unread",
    async (operation, options, message) => {
      const { stream, seen } = streamOf(BYTES);
      const body = { stream, bytes: BYTES.length };
      await expect(call(operation, body, options)).rejects.toMatchObject({
        name: "AppError",
        code: "invalid_option",
        message:
          typeof message === "string"
            ? message
            : expect.stringMatching(message),
      });
      expect(seen).toEqual({ cancelled: true, pulls: 0 });
      expect(stream.locked).toBe(false);
    },
  );

  test("one that is undefined was not told", async () => {
    const told = {
      raw,
      scale: undefined,
      include: undefined,
      preset: undefined,
    };
    expect(await bytesOf(quantize(BYTES, told))).toEqual(
      await bytesOf(quantize(BYTES, { raw })),
    );
  });

  test("changing them afterwards changes nothing", async () => {
    const shape = [4, 64];
    const answer = quantize(BYTES, { raw: { dtype: "f32", shape } });
    shape[0] = 5;
    expect((await bytesOf(answer)).length).toBeGreaterThan(128);
  });
});

describe("bodies", () => {
  const plain = () => bytesOf(quantize(BYTES, { raw }));

  test.each([
    ["an ArrayBuffer", VALUES.buffer],
    ["a Float32Array", VALUES],
    ["a DataView", new DataView(VALUES.buffer)],
    ["a view in the middle", new Uint8Array([9, ...BYTES, 9]).subarray(1, -1)],
    ["a Blob", new Blob([BYTES])],
    ["a File", new File([BYTES], "x.raw")],
    ["what threads share", shared()],
  ])("%s is its bytes", async (_, body) => {
    const options = { raw } as const;
    expect(await bytesOf(quantize(body as TensorBody, options))).toEqual(
      await plain(),
    );
  });

  function shared(): Uint8Array {
    const view = new Uint8Array(new SharedArrayBuffer(BYTES.length));
    view.set(BYTES);
    return view;
  }

  test.each([
    [
      "model.safetensors",
      /the text "model.safetensors"; .*openAsBlob\(path\)$/,
    ],
    [new URL("file:///model"), /got URL$/],
    [streamOf(BYTES).stream, /a stream alone; say how long it is/],
    [new Response("x"), /got Response$/],
    [[1, 2, 3], /got \[1,2,3\]$/],
    [null, /got null$/],
    [undefined, /got undefined$/],
    [7, /got 7$/],
    [{ bytes: 3 }, /got \{"bytes":3\}$/],
    [{ stream: BYTES, bytes: 3 }, /`stream` as Uint8Array$/],
    [{ stream: streamOf().stream, bytes: "3" }, /`bytes` as "3"$/],
    [{ stream: streamOf().stream, bytes: -1 }, /`bytes` as -1$/],
    [{ stream: streamOf().stream }, /`bytes` as undefined$/],
  ])("%o is none", async (body, message) => {
    for (const operation of Object.keys(OPERATIONS)) {
      await expect(call(operation, body)).rejects.toMatchObject({
        code: "malformed_body",
        message: expect.stringMatching(message),
      });
    }
  });

  test("a stream that has a reader is refused, and left to it", async () => {
    const { stream, seen } = streamOf(BYTES);
    const reader = stream.getReader();
    const body = { stream, bytes: BYTES.length };
    await expect(quantize(body, { raw })).rejects.toThrow(/has a reader/);
    expect(seen.cancelled).toBe(false);
    expect((await reader.read()).value).toEqual(BYTES);
  });
});

describe("streams are given back", () => {
  const bytes = BYTES.length;

  test("when all of it was taken", async () => {
    const { stream, seen } = streamOf(BYTES.slice(0, 100), BYTES.slice(100));
    const answer = await bytesOf(quantize({ stream, bytes }, { raw }));
    expect(answer).toEqual(await bytesOf(quantize(BYTES, { raw })));
    expect(stream.locked).toBe(false);
    expect(seen.cancelled).toBe(false);
  });

  test.each(["quantize", "dequantize", "hadamard", "analyze"])(
    "when %s refuses the head",
    async (operation) => {
      const { stream, seen } = streamOf(BYTES);
      await expect(call(operation, { stream, bytes })).rejects.toMatchObject({
        code: "malformed_body",
      });
      expect(stream.locked).toBe(false);
      expect(seen.cancelled).toBe(true);
    },
  );

  test.each([
    ["it breaks off", [BYTES.slice(0, 100)], /more bytes/],
    ["it goes on", [BYTES, BYTES], /to end at its declared length/],
    ["it has text", ["text"], /a stream of Uint8Array, got "text" in it/],
  ])("when %s", async (_, chunks, message) => {
    const ends = [
      async (body: TensorBody) => bytesOf(quantize(body, { raw })),
      async (body: TensorBody) => analyze(body, { raw }),
    ];
    for (const end of ends) {
      const { stream } = streamOf(...chunks);
      await expect(end({ stream, bytes })).rejects.toThrow(message);
      expect(stream.locked).toBe(false);
    }
  });

  test("when the answer is not wanted any more", async () => {
    const { stream, seen } = streamOf(BYTES.slice(0, 100), BYTES.slice(100));
    const answer = await quantize({ stream, bytes }, { raw });
    await answer.body!.cancel();
    expect(seen.cancelled).toBe(true);
    expect(stream.locked).toBe(false);
  });
});
