/** Trainers hosted by this Worker. They may serve a run in another process, at `API`. */
import { exports } from "cloudflare:workers";
import { AppError, type ErrorCode } from "../../api/errors.ts";
import type { RunStatus } from "../../api/run-status.ts";
import type { Env } from "../env.ts";

/** A hosted trainer's object, over native RPC. */
type TrainerStub = {
  start(run: string, trainer: string): Promise<void>;
};

/** The run's status as this Worker's trainers will see it. Errors: those of its route */
export async function fetchStatus(env: Env, run: string): Promise<RunStatus> {
  const thisWorker = exports as { default: Fetcher };
  const response = await (env.API ?? thisWorker.default).fetch(
    `http://localhost/v1/runs/${run}`,
    env.API_TOKEN
      ? { headers: { Authorization: `Bearer ${env.API_TOKEN}` } }
      : {},
  );
  if (response.ok) return response.json();
  // The answer's problem document names the inner request, so only its code and detail are used.
  const { code, detail } = await response.json<{
    code?: ErrorCode;
    detail: string;
  }>();
  if (code) throw new AppError(code, detail);
  throw new Error(`Expected the run's status, got ${response.status}`);
}

/** Starts one with a unique name. */
export async function startTrainer(env: Env, run: string): Promise<string> {
  const [word] = crypto.getRandomValues(new Uint32Array(1));
  const trainer = `edge-${word!.toString(36)}`;
  const stub = env.TRAINER.getByName(
    `${run}/${trainer}`,
  ) as unknown as TrainerStub;
  await stub.start(run, trainer);
  return trainer;
}
