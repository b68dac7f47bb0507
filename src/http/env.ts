import type { ObjectBindings } from "../objects/platform/bindings.ts";

/**
 * What wrangler.toml binds, and what it does not: `API_TOKEN` is a secret, `LOCAL_MODE` is "1" where
 * whoever is on this machine may call; `EDGE` is "local" where the command line serves, and `ISOLATE_MIB` is set there alone.
 */
export type Env = ObjectBindings & {
  API_TOKEN?: string;
  LOCAL_MODE?: string;
  EDGE?: string;
  /** "1" where each request gets a line in the log. */
  REQUEST_LOG?: string;
  /** What one isolate may hold, where that is more than the platform's 128 (memory/ledger.ts). */
  ISOLATE_MIB?: string;
  /** Hosts whose files jobs may read (objects/job/url-rules.ts). */
  SOURCE_HOSTS?: string;
  TRAINER: DurableObjectNamespace;
  JOB: DurableObjectNamespace;
  TOKENIZATION: DurableObjectNamespace;
  /** Where runs are served, if not here: only a host of trainers on this machine has it. */
  API?: Fetcher;
};

/** Hono's name for it: `new Hono<AppEnv>()`. */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** The owner, or the id of a join token (objects/platform/author.ts). */
    caller: string;
    /** That run's, of which the join token is. */
    tokenRun?: string;
    /** The path that it has in the declaration. */
    route?: string;
  };
};
