/** A preset chooses the bytes and the names, the same in the library, over HTTP and in a job. */
import { describe, expect, test } from "vitest";
import { PRESET_NAMES, type PresetName } from "../../src/api/presets.ts";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { quantize } from "../../src/index.ts";
import { ggufFile } from "../support/gguf-bytes.ts";
import { createJob, finish, putFile } from "../support/jobs.ts";
import { normals } from "../support/random.ts";
import { bytesOf, problemOf, send } from "./support.ts";
import { f32, fileInOrder, post } from "./tensor-support.ts";

const FILE = fileInOrder([f32("w.weight", [4, 64], normals(256, 1))]);
const GGUF = ggufFile([
  {
    name: "a.weight",
    dimensions: [64, 4],
    type: 0,
    bytes: new Uint8Array(normals(256, 1).buffer),
  },
]);

/** docs/compatibility.md says the same. */
const EXPLICIT: Record<PresetName, string> = {
  ocp: "scale=floor",
  microxcaling: "rounding=nearest-away&scale=floor",
  ggml: "rounding=nearest-zero&scale=floor&layout=ggml",
  "gpt-oss": "scale=rceil&layout=gpt-oss",
  "torchao-ceil": "scale=ceil&layout=compressed-tensors",
  "compressed-tensors": "scale=even&layout=compressed-tensors",
  amd: "scale=even&min-scale=1&layout=compressed-tensors",
  paper: "rounding=stochastic&scale=floor&prescale=0.75&hadamard=64",
};

const TENSORS = {
  "gpt-oss": ["w.weight_blocks", "w.weight_scales"],
  "compressed-tensors": ["w.weight_packed", "w.weight_scale"],
  ggml: ["w.weight_ggml"],
};

async function quantized(query: string, body = FILE) {
  const response = await post(`/v1/quantize?${query}`, body);
  const bytes = await bytesOf(response);
  if (response.status !== 200) throw new Error(new TextDecoder().decode(bytes));
  return new Uint8Array(bytes);
}

const namesOf = (file: Uint8Array) =>
  readSafetensors(file)
    .tensors.map(({ name }) => name)
    .toSorted();

describe.each(PRESET_NAMES)("%s", (preset) => {
  test("is the options that it stands for, everywhere", async () => {
    const expected = await quantized(EXPLICIT[preset]);
    expect(await quantized(`preset=${preset}`)).toEqual(expected);
    const here = await quantize(FILE, { preset });
    expect(new Uint8Array(await here.arrayBuffer())).toEqual(expected);

    await putFile("preset-source", FILE);
    await createJob({
      operation: "quantize",
      source: "preset-source",
      result: `preset-${preset}`,
      clientKey: `preset-${preset}`,
      options: { preset },
    });
    expect((await finish(`preset-${preset}`)).state).toBe("finished");
    const result = await send(`/v1/files/preset-${preset}`);
    expect(new Uint8Array(await bytesOf(result))).toEqual(expected);
  });

  test("gives way to what is told beside it", async () => {
    for (const layout of ["gpt-oss", "compressed-tensors", "ggml"] as const) {
      const query = `preset=${preset}&layout=${layout}`;
      expect(namesOf(await quantized(query))).toEqual(TENSORS[layout]);
    }
    const told = "rounding=nearest-even&scale=ceil&min-scale=0&prescale=1";
    expect(
      await quantized(`preset=${preset}&${told}&hadamard=0&layout=gpt-oss`),
    ).toEqual(await quantized(`${told}&layout=gpt-oss`));
  });
});

test.each(["gpt-oss", "compressed-tensors", "ggml"] as const)(
  "%s alone has its ecosystem's names",
  async (preset) => {
    expect(namesOf(await quantized(`preset=${preset}`))).toEqual(
      TENSORS[preset],
    );
  },
);

test("of a GGUF a preset chooses the scheme; names and blocks are GGUF's", async () => {
  expect(await quantized("preset=compressed-tensors", GGUF)).toEqual(
    await quantized("scale=even", GGUF),
  );
  await problemOf(
    await post("/v1/quantize?preset=paper", GGUF),
    422,
    "invalid_option",
  );
});

test("an analysis starts from it", async () => {
  const figures = async (query: string) =>
    (await post(`/v1/analyze?${query}`, FILE)).json();
  expect(await figures("preset=amd&compare=rounding=nearest-zero")).toEqual(
    await figures("scale=even&min-scale=1&compare=rounding=nearest-zero"),
  );
});
