/**
 * What wrangler.toml binds, and the two values that it does not: `API_TOKEN` is a secret, and
 * `LOCAL_MODE` is "1" only where the local command line serves.
 */
export type Env = {
  API_TOKEN?: string;
  LOCAL_MODE?: string;
  BUCKET: R2Bucket;
  RUN: DurableObjectNamespace;
  PARAMETER_SHARD: DurableObjectNamespace;
  DIRECTORY: DurableObjectNamespace;
  TRAINER: DurableObjectNamespace;
  JOB: DurableObjectNamespace;
  /** Where runs are served, if not here: only a host of trainers on this machine has it. */
  API?: Fetcher;
};

/** Hono's name for it: `new Hono<AppEnv>()`. */
export type AppEnv = { Bindings: Env };
