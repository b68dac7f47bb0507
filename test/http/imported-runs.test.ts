/** `POST /v1/runs` with `from`: a run goes on from a model in a folder of the bucket. */
import { env, reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { LlamaShape, RunRequest } from "../../src/api/run-config.ts";
import type { RunClient } from "../../src/client/run-client.ts";
import {
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/containers/safetensors.ts";
import {
  architectureOf,
  completeShape,
} from "../../src/model/architectures.ts";
import { RunTrainer } from "../../src/training/trainer.ts";
import { withPair } from "../support/gguf-of-folder.ts";
import { directoryOf, gpt2Tensors } from "../support/text-models.ts";
import { untarred } from "../support/untarred.ts";
import {
  call,
  callJson,
  clientOf,
  finish,
  FINGERPRINT,
  outcomeOf,
  startRun,
  TINY,
} from "../support/run.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

/** Its tensors do not all lie on whole chunks: keys and values are of half a width. */
const LLAMA = { ...TINY.model, arch: "llama", headNorm: true } as const;
const QWEN2 = { ...TINY.model, arch: "llama", qkvBias: true } as const;
const BUCKET = (env as { BUCKET: R2Bucket }).BUCKET;

/** A run of two steps, its model in the folder, and what its checkpoint holds. */
async function exported(folder: string, model = TINY.model) {
  const { run, status } = await startRun({ model, steps: 2, shards: 2 });
  await finish(run, ["one"]);
  const tar = await (await run.checkpoint({ format: "hf" })).bytes();
  for (const [name, bytes] of untarred(tar))
    await BUCKET.put(`files/${name.replace(/^model/, folder)}`, bytes);
  return { dataset: status.config.dataset.name, weights: await weightsOf(run) };
}

async function weightsOf(run: {
  checkpoint(): Promise<Response>;
}): Promise<unknown> {
  const { tensors } = readSafetensors(
    new Uint8Array(await (await run.checkpoint()).arrayBuffer()),
  );
  return tensors;
}

async function exportedConfig(run: RunClient): Promise<unknown> {
  const tar = untarred(await (await run.checkpoint({ format: "hf" })).bytes());
  const [, written] = [...tar].find(([name]) => name.endsWith("config.json"))!;
  return JSON.parse(new TextDecoder().decode(written));
}

test.each([
  ["gpt2", TINY.model],
  ["llama", LLAMA],
  ["qwen2", QWEN2],
])(
  "begins with the folder's sizes and parameters, and ends in the same bytes for other shards: %s",
  async (_, model) => {
    const { dataset, weights } = await exported("mine", model);
    const ends = [];
    for (const shards of [1, 3]) {
      const { run, status } = await startRun({
        dataset,
        from: "mine",
        steps: 3,
        shards,
        seed: 5,
        model: undefined,
      });
      expect(status.config.model).toMatchObject({ ...model });
      expect(status.config.from).toMatchObject({ folder: "mine" });
      expect(await weightsOf(run)).toEqual(weights);
      await finish(run, ["one", "two"]);
      ends.push((await outcomeOf(run)).checkpoint);
      expect(await weightsOf(run)).not.toEqual(weights);
    }
    expect(ends[0]).toEqual(ends[1]);
  },
);

test.each([
  ["gpt2", TINY.model],
  ["llama", LLAMA],
  ["qwen2", QWEN2],
])("begins with a GGUF that is alone in a folder: %s", async (_, model) => {
  const { run, status } = await startRun({ model, steps: 2, shards: 2 });
  await finish(run, ["one"]);
  const gguf = await (await run.checkpoint({ format: "gguf" })).bytes();
  await BUCKET.put("files/packed/of any name.gguf", gguf);
  const long = await withPair(gguf, "tokenizer.chat_template", {
    string: "x".repeat(3 << 20),
  });
  await BUCKET.put("files/long/model.gguf", long);
  const dataset = status.config.dataset.name;
  for (const from of ["packed", "long"]) {
    const again = await startRun({
      dataset,
      from,
      shards: 3,
      model: undefined,
    });
    expect(again.status.config.model).toMatchObject({ ...model });
    expect(await weightsOf(again.run)).toEqual(await weightsOf(run));
  }
  await BUCKET.put("files/cut/model.gguf", gguf.slice(0, 500));
  const cut = await callJson("POST", "/v1/runs", { dataset, from: "cut" });
  await problemOf(cut, 400, "malformed_body");
});

test("positions turn as the folder's config says, to the run's end and in what it exports", async () => {
  const { dataset } = await exported("mine", QWEN2);
  const config = await (await BUCKET.get("files/mine/config.json"))!.json();
  const rope_parameters = {
    rope_theta: 500,
    rope_type: "yarn",
    factor: 4,
    original_max_position_embeddings: 8,
  };
  await BUCKET.put(
    "files/mine/config.json",
    JSON.stringify({ ...(config as object), rope_parameters }),
  );
  const asked = { dataset, from: "mine", steps: 2, model: undefined };
  const { run, status } = await startRun({ ...asked, shards: 2 });
  expect(status.config.model).toMatchObject({
    qkvBias: true,
    ropeBase: 500,
    ropeScaling: { type: "yarn", factor: 4, originalContext: 8 },
  });
  await finish(run, ["one"]);
  const state = await (await run.checkpoint({ state: "full" })).bytes();
  await BUCKET.put("files/state/some.safetensors", state);
  expect(await exportedConfig(run)).toMatchObject({
    model_type: "qwen2",
    rope_parameters,
    rope_scaling: rope_parameters,
  });

  const whole = await startRun({ ...asked, steps: 4, shards: 1 });
  await finish(whole.run, ["one"]);
  const resumed = { ...asked, from: "state", resume: true, steps: 4 };
  const rest = await startRun({ ...resumed, shards: 3 });
  expect(rest.status.config.model).toEqual(whole.status.config.model);
  await finish(rest.run, ["two"]);
  expect(await weightsOf(rest.run)).toEqual(await weightsOf(whole.run));
});

test("biases of every linear layer are trained, kept to the run's end, and leave", async () => {
  const { dataset } = await exported("mine");
  const sizes = { ...TINY.model, vocabulary: 256, arch: "llama" } as Parameters<
    typeof completeShape
  >[0];
  const shape = {
    ...(completeShape(sizes) as LlamaShape),
    qkvBias: true,
    outBias: true,
    mlpBias: true,
  };
  const config = architectureOf(shape).huggingFaceConfig(shape);
  const files = directoryOf(config, gpt2Tensors(shape));
  for (const [name, bytes] of files)
    await BUCKET.put(`files/biased/${name}`, bytes);
  const asked = { dataset, from: "biased", steps: 2, model: undefined };
  const { run, status } = await startRun({ ...asked, shards: 2 });
  expect(status.config.model).toEqual(shape);
  await finish(run, ["one"]);
  const state = await (await run.checkpoint({ state: "full" })).bytes();
  await BUCKET.put("files/state/some.safetensors", state);
  expect(await exportedConfig(run)).toMatchObject({
    model_type: "llama",
    attention_bias: true,
    mlp_bias: true,
  });
  const before = readSafetensors(files.get("model.safetensors")!).tensors;
  const after = readSafetensors(
    new Uint8Array(await (await run.checkpoint()).arrayBuffer()),
  ).tensors;
  const biases = after.filter(({ name }) => name.endsWith(".bias"));
  expect(biases).toHaveLength(7 * shape.layers);
  for (const bias of biases)
    expect(bias).not.toEqual(before.find(({ name }) => name === bias.name));

  const whole = await startRun({ ...asked, steps: 4, shards: 1 });
  await finish(whole.run, ["one"]);
  const resumed = { ...asked, from: "state", resume: true, steps: 4 };
  const rest = await startRun({ ...resumed, shards: 3 });
  expect(rest.status.config.model).toEqual(shape);
  await finish(rest.run, ["two"]);
  expect(await weightsOf(rest.run)).toEqual(await weightsOf(whole.run));
});

test("another model, or none, is refused", async () => {
  const { dataset } = await exported("mine");
  const create = (request: object) =>
    callJson("POST", "/v1/runs", { dataset, ...request });
  await problemOf(await create({ from: "none" }), 404, "file_not_found");
  const sized = { from: "mine", model: { layers: 3 } };
  const { detail } = await problemOf(
    await create(sized),
    422,
    "invalid_config",
  );
  expect(detail).toContain(
    "Expected `layers` to be that of the model in `from`, 1, or left out, got 3",
  );
  const config = await (await BUCKET.get("files/mine/config.json"))!.text();
  await BUCKET.put(
    "files/mine/config.json",
    config.replace("gelu_new", "relu"),
  );
  const other = await problemOf(
    await create({ from: "mine" }),
    422,
    "invalid_config",
  );
  expect(other.detail).toContain(
    '`activation_function` "gelu_new", got "relu"',
  );
});

describe("a checkpoint of state=full", () => {
  const STEPS = { steps: 5, shards: 2, snapshotSteps: 3 };

  /** A run that is cancelled in its step 3, and all of its state in a folder of the bucket. */
  async function interrupted(changes: Partial<RunRequest> = {}) {
    const { run, status } = await startRun({ ...STEPS, ...changes });
    const controller = new AbortController();
    await new RunTrainer(run, {
      trainer: "one",
      bootId: "boot",
      fingerprint: FINGERPRINT,
    }).train({
      signal: controller.signal,
      onCompleted: ({ step }) => step === 3 && controller.abort(),
    });
    expect(await run.setState("cancelled")).toMatchObject({ step: 3 });
    const file = await (await run.checkpoint({ state: "full" })).bytes();
    await BUCKET.put("files/state/some.safetensors", file);
    return { dataset: status.config.dataset.name, file, run };
  }

  test.each<Partial<RunRequest>>([
    {},
    { optimizer: { name: "adamw", warmupSteps: 1 }, shards: 1 },
    { model: LLAMA },
  ])(
    "is gone on from to the bytes of a run that was never interrupted: %j",
    async (changes) => {
      const { dataset } = await interrupted(changes);
      const whole = await startRun({ ...STEPS, ...changes, dataset });
      await finish(whole.run);
      const expected = await outcomeOf(whole.run);

      // All that is not told is the checkpoint's.
      const request = { dataset, from: "state", resume: true, shards: 3 };
      const answer = await callJson("POST", "/v1/runs", {
        ...request,
        run: "on",
      });
      expect(answer.status).toBe(201);
      const run = clientOf().run("on");
      expect(await run.status()).toMatchObject({
        step: 3,
        config: { steps: 5 },
      });
      await finish(run, ["one", "two"]);
      const { checkpoint, losses, gradNorms } = await outcomeOf(run);
      expect(checkpoint).toEqual(expected.checkpoint);
      expect(losses).toEqual(expected.losses.slice(2 * 3));
      expect(gradNorms).toEqual(expected.gradNorms.slice(3));
      expect((await run.metrics()).map(({ tokens }) => tokens)).toEqual(
        (await whole.run.metrics()).map(({ tokens }) => tokens).slice(3),
      );
    },
  );

  test("goes on for more steps, and to parameters alone, and says so in its own", async () => {
    const { dataset, run: before } = await interrupted();
    const status = await clientOf().createRun({
      ...request(dataset),
      steps: 6,
    });
    expect(status).toMatchObject({ step: 3, config: { steps: 6 } });
    const more = { status, run: clientOf().run(status.run) };
    await finish(more.run);
    const { metadata } = readSafetensors(
      (await outcomeOf(more.run)).checkpoint,
    );
    expect(metadata.get("mxfp4-edge.step")).toBe("6");
    expect(metadata.get("mxfp4-edge.config")).toContain(
      `"from":{"digest":"${more.status.config.from!.digest}"}`,
    );

    const anew = await startRun({ dataset, from: "state" });
    expect(anew.status).toMatchObject({
      step: 0,
      config: { steps: TINY.steps },
    });
    expect(await weightsOf(anew.run)).toEqual(await weightsOf(before));
  });

  test.each<[string, object, string]>([
    ["nothing", { from: undefined }, "got no `from`"],
    [
      "no more steps",
      { steps: 3 },
      "Expected more `steps` than the 3 that the checkpoint has seen, got 3",
    ],
    [
      "another optimizer",
      { optimizer: { name: "adamw" } },
      "to be muon, whose state is in the checkpoint, got adamw",
    ],
    [
      "another size",
      { model: { layers: 2 } },
      "Expected `layers` to be that of the model in `from`, 1",
    ],
  ])("is refused with %s", async (_, changes, said) => {
    const { dataset } = await interrupted();
    const { detail } = await problemOf(
      await callJson("POST", "/v1/runs", { ...request(dataset), ...changes }),
      422,
      "invalid_config",
    );
    expect(detail).toContain(said);
  });

  test("is refused where something of it is missing or is none", async () => {
    const { dataset, file, run } = await interrupted();
    const create = async (bytes: Uint8Array) => {
      await BUCKET.put("files/state/some.safetensors", bytes);
      return callJson("POST", "/v1/runs", request(dataset));
    };
    const alone = await (await run.checkpoint()).bytes();
    const { detail } = await problemOf(
      await create(alone),
      422,
      "invalid_config",
    );
    expect(detail).toContain('got "state" with parameters alone');

    const { tensors, metadata } = readSafetensors(file);
    const written = (
      left: (name: string) => boolean,
      changes: Record<string, string> = {},
    ) =>
      new Blob([
        ...writeSafetensors(
          tensors
            .filter(({ name }) => left(name))
            .map(({ bytes, ...tensor }) => ({ ...tensor, chunks: [bytes] })),
          new Map([...metadata, ...Object.entries(changes)]),
        ).chunks,
      ]).bytes();
    const all = () => true;
    expect((await create(await written(all))).status).toBe(201);
    const lost = await create(
      await written((name) => !name.startsWith("optimizer.v.")),
    );
    await problemOf(lost, 422, "shape_mismatch");
    const wrong: Record<string, string>[] = [
      { "mxfp4-edge.step": "-1" },
      { "mxfp4-edge.tokens": "many" },
      { "mxfp4-edge.config": "{" },
      { "mxfp4-edge.config": "{}" },
      {
        "mxfp4-edge.config": metadata
          .get("mxfp4-edge.config")!
          .replace('"steps":5', '"steps":"5"'),
      },
    ];
    for (const changes of wrong)
      await problemOf(
        await create(await written(all, changes)),
        400,
        "malformed_body",
      );
    const asGguf = await call(
      "GET",
      `/v1/runs/${run.run}/checkpoint?state=full&format=gguf`,
    );
    await problemOf(asGguf, 422, "invalid_option");
  });

  function request(dataset: string) {
    return { dataset, from: "state", resume: true };
  }
});
