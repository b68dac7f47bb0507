import type { ObjectBindings } from "../objects/platform/bindings.ts";

/**
 * The Worker's environment. Beside the bindings of wrangler.toml: the secret `API_TOKEN`; `LOCAL_MODE`, "1" if everyone
 * on this machine has access; and, set by the command line only, `EDGE` "local" and `ISOLATE_MIB`.
 */
export type Env = ObjectBindings & {
  API_TOKEN?: string;
  LOCAL_MODE?: string;
  EDGE?: string;
  /** "1" to log a line per request. */
  REQUEST_LOG?: string;
  /** Memory limit of an isolate if higher than the platform's 128 MiB (memory/ledger.ts). */
  ISOLATE_MIB?: string;
  /** Hosts from which jobs may read (objects/job/url-rules.ts). */
  SOURCE_HOSTS?: string;
  TRAINER: DurableObjectNamespace;
  JOB: DurableObjectNamespace;
  TOKENIZATION: DurableObjectNamespace;
  /** Where runs are served, if not here: set only for a host of trainers on this machine. */
  API?: Fetcher;
};

/** The generic argument of `new Hono<AppEnv>()`. */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** The owner, or a join token's id (objects/platform/author.ts). */
    caller: string;
    /** The run of the caller's join token. */
    tokenRun?: string;
    /** Path of the declared route. */
    route?: string;
  };
};
