/** `POST /v1/runs` with `from`: a run goes on from a model in a folder of the bucket. */
import { env, reset } from "cloudflare:test";
import { afterEach, expect, test } from "vitest";
import { readSafetensors } from "../../src/formats/containers/safetensors.ts";
import { untarred } from "../support/untarred.ts";
import { callJson, finish, outcomeOf, startRun } from "../support/run.ts";
import { problemOf } from "./support.ts";

afterEach(reset);

const BUCKET = (env as { BUCKET: R2Bucket }).BUCKET;

/** A run of two steps, its model in the folder, and what its checkpoint holds. */
async function exported(folder: string) {
  const { run, status } = await startRun({ steps: 2, shards: 2 });
  await finish(run, ["one"]);
  const tar = await (await run.checkpoint("hf")).bytes();
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

test("begins with the folder's sizes and parameters, and ends in the same bytes for other shards", async () => {
  const { dataset, weights } = await exported("mine");
  const ends = [];
  for (const shards of [1, 3]) {
    const { run, status } = await startRun({
      dataset,
      from: "mine",
      steps: 3,
      shards,
      seed: 5,
    });
    expect(status.config.from).toMatchObject({ folder: "mine" });
    expect(await weightsOf(run)).toEqual(weights);
    await finish(run, ["one", "two"]);
    ends.push((await outcomeOf(run)).checkpoint);
    expect(await weightsOf(run)).not.toEqual(weights);
  }
  expect(ends[0]).toEqual(ends[1]);
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
    "Expected `layers` of the model that the run goes on from, 1, or not to be told, got 3",
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
