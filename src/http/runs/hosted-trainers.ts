/** Trainers that this Worker hosts. They may serve a run whose objects live in another process: `API` says where. */
import { exports } from "cloudflare:workers";
import type { Env } from "../env.ts";

/** A hosted trainer's object, over native RPC. */
type TrainerStub = {
  start(run: string, trainer: string): Promise<void>;
};

/** The run as this Worker's trainers will see it. */
export function fetchStatus(env: Env, run: string): Promise<Response> {
  const thisWorker = exports as { default: Fetcher };
  return (env.API ?? thisWorker.default).fetch(
    `http://localhost/v1/runs/${run}`,
    env.API_TOKEN
      ? { headers: { Authorization: `Bearer ${env.API_TOKEN}` } }
      : {},
  );
}

/** Start one, of a name of its own. */
export async function startTrainer(env: Env, run: string): Promise<string> {
  const [word] = crypto.getRandomValues(new Uint32Array(1));
  const trainer = `edge-${word!.toString(36)}`;
  const stub = env.TRAINER.getByName(
    `${run}/${trainer}`,
  ) as unknown as TrainerStub;
  await stub.start(run, trainer);
  return trainer;
}
