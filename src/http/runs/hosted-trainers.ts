/** Trainers that this Worker hosts. They may serve a run whose objects live in another process: `API` says where. */
import { exports } from "cloudflare:workers";
import { AppError, type ErrorCode } from "../../api/errors.ts";
import type { RunStatus } from "../../api/run-status.ts";
import type { Env } from "../env.ts";

/** A hosted trainer's object, over native RPC. */
type TrainerStub = {
  start(run: string, trainer: string): Promise<void>;
};

/** The run as this Worker's trainers will see it. Errors: those that its route answers with */
export async function fetchStatus(env: Env, run: string): Promise<RunStatus> {
  const thisWorker = exports as { default: Fetcher };
  const response = await (env.API ?? thisWorker.default).fetch(
    `http://localhost/v1/runs/${run}`,
    env.API_TOKEN
      ? { headers: { Authorization: `Bearer ${env.API_TOKEN}` } }
      : {},
  );
  if (response.ok) return response.json();
  // Its document names the inner request.
  const { code, detail } = await response.json<{
    code?: ErrorCode;
    detail: string;
  }>();
  if (code) throw new AppError(code, detail);
  throw new Error(`Expected the run's status, got ${response.status}`);
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
