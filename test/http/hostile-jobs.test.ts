/** Whatever is wrong with a file, a job ends as the route answers: with the same refusal, or the same success. */
import { expect, test } from "vitest";
import type { JobRequest } from "../../src/api/tensors.ts";
import { createJob, finish, putFile } from "../support/jobs.ts";
import { normals } from "../support/random.ts";
import type { Problem } from "./support.ts";
import { f32, fileInOrder, post, u8, withHeader } from "./tensor-support.ts";

const text = (value: string) => new TextEncoder().encode(value);
const ONE = { dtype: "F32", shape: [1, 32], data_offsets: [0, 128] };
const DATA = new Uint8Array(new Float32Array(32).fill(1).buffer);
const headed = (header: unknown, data = DATA) =>
  withHeader(
    typeof header === "string" ? header : JSON.stringify(header),
    data.length > 0 ? [data] : [],
  );
const bytes = (...parts: (number[] | Uint8Array)[]) =>
  Uint8Array.from(parts.flatMap((part) => [...part]));

function npy(descr: string, shape: string, data: Uint8Array): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  const padded = `${header.padEnd(117)}\n`;
  return bytes([0x93], text("NUMPY"), [1, 0, 118, 0], text(padded), data);
}

const PLAIN = fileInOrder([f32("a.weight", [2, 64], normals(128, 1))]);

const FILES: Record<string, Uint8Array> = {
  "nothing at all": new Uint8Array(0),
  "three bytes": bytes([1, 2, 3]),
  "a head longer than the file": bytes(
    [255, 255, 0, 0, 0, 0, 0, 0],
    text("{}"),
  ),
  "a head that is no JSON": headed("hello"),
  "a list for a head": headed("[]", new Uint8Array(0)),
  "cut short": PLAIN.subarray(0, 200),
  "bytes behind the last": bytes(PLAIN, [1, 2, 3]),
  "no metadata": headed({ __metadata__: null, "a.weight": ONE }),
  "metadata of numbers": headed({ __metadata__: { a: 1 }, "a.weight": ONE }),
  "a lone surrogate": headed(
    '{"\\ud800":{"dtype":"F32","shape":[1,32],"data_offsets":[0,128]}}',
  ),
  "a name twice": headed(
    `{"a":${JSON.stringify(ONE)},"a":${JSON.stringify(ONE)}}`,
  ),
  "an unknown dtype": headed({ a: { ...ONE, dtype: "F33" } }),
  "no tensor": headed("{}", new Uint8Array(0)),
  "no element": headed(
    { a: { dtype: "F32", shape: [0, 32], data_offsets: [0, 0] } },
    new Uint8Array(0),
  ),
  "a value that is none": fileInOrder([
    f32("a.weight", [1, 32], [NaN, ...normals(31, 1)]),
  ]),
  "a NaN scale": fileInOrder([
    u8("x_blocks", [2, 16], Array(32).fill(0x21)),
    u8("x_scales", [2], [127, 255]),
  ]),
  "bf16 of NumPy": npy("<V2", "(1, 32)", new Uint8Array(64)),
  "half an array": npy("<f4", "(2, 32)", DATA),
  "a zip archive": bytes(text("PK"), [3, 4], new Uint8Array(60)),
  "a Git LFS pointer": text(
    "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n",
  ),
  "an index": text('{"weight_map":{"a":"b.safetensors"}}'),
  "a GGUF that ends": bytes(text("GGUF"), [3, 0, 0, 0]),
  "a GGUF of too many tensors": bytes(
    text("GGUF"),
    [3, 0, 0, 0],
    Array(16).fill(127) as number[],
  ),
};

const OPERATIONS = {
  quantize: {},
  dequantize: {},
  repack: { to: "quark" },
  hadamard: {},
  analyze: {},
} as const;

test.each(Object.entries(FILES))("%s", async (name, file) => {
  const source = name.replaceAll(" ", "-");
  await putFile(source, file.slice());
  for (const [operation, options] of Object.entries(OPERATIONS)) {
    const query = new URLSearchParams(options).toString();
    const answer = await post(`/v1/${operation}?${query}`, file);
    const problem =
      answer.status === 200 ? null : ((await answer.json()) as Problem);
    if (problem === null) await answer.arrayBuffer();
    else expect(problem.detail, operation).toMatch(/^Expected /);
    const clientKey = `${operation}-${source}`.slice(0, 64);
    await createJob({
      operation,
      source,
      options,
      clientKey,
    } as JobRequest);
    const { state, error } = await finish(clientKey);
    expect({ operation, state, error }).toEqual({
      operation,
      state: problem ? "failed" : "finished",
      error: problem && { code: problem.code, detail: problem.detail },
    });
  }
});
