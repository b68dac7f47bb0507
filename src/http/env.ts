/**
 * What wrangler.toml binds, and the two values that it does not: `API_TOKEN` is a secret, and
 * `LOCAL_MODE` is "1" only where the local command line serves. `REQUEST_LOG` is "1" where each request
 * gets a line in the log.
 */
export type Env = {
  API_TOKEN?: string;
  LOCAL_MODE?: string;
  REQUEST_LOG?: string;
  BUCKET: R2Bucket;
  RUN: DurableObjectNamespace;
  PARAMETER_SHARD: DurableObjectNamespace;
  DIRECTORY: DurableObjectNamespace;
  TRAINER: DurableObjectNamespace;
  JOB: DurableObjectNamespace;
  API: Fetcher;
};

/** Hono's name for it: `new Hono<AppEnv>()`. */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** The path that it has in the declaration. */
    route?: string;
  };
};
