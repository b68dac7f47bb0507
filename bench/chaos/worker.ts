/**
 * The product's Worker. Its runs, shards and subtrees do what they do, but a fault that `PUT /chaos` has set for one comes
 * when it has used its storage so many times. Never deployed.
 */
import module from "../../build/kernels.wasm";
import { app } from "../../src/http/app.ts";
import type { Env } from "../../src/http/env.ts";
import { loadKernels } from "../../src/kernels/runtime.ts";
import { isolateMemory } from "../../src/memory/ledger.ts";
import { Run } from "../../src/objects/run/run.ts";
import { ParameterShard } from "../../src/objects/shard/parameter-shard.ts";
import { Subtree } from "../../src/objects/shard/subtree.ts";
import type { ObjectFault } from "./schedule.ts";

export { Directory } from "../../src/objects/directory/directory.ts";

const { arena } = loadKernels(module);
isolateMemory.countFixed(() => arena.memory.buffer.byteLength);

/** By the object's name; an object that is begun anew goes on with what is left of them. */
const faults = new Map<string, ObjectFault[]>();
/** How many have come. */
let come = 0;

export class FailingRun extends Run {
  constructor(context: DurableObjectState, env: never) {
    super(failing(context), env);
  }
}

export class FailingShard extends ParameterShard {
  constructor(context: DurableObjectState, env: never) {
    super(failing(context), env);
  }
}

export class FailingSubtree extends Subtree {
  constructor(context: DurableObjectState, env: never) {
    super(failing(context), env);
  }
}

export default {
  async fetch(
    request: Request,
    env: Env,
    context: ExecutionContext,
  ): Promise<Response> {
    if (new URL(request.url).pathname !== "/chaos")
      return app.fetch(request, env, context);
    if (request.method === "PUT") {
      const all = await request.json<ObjectFault[]>();
      for (const fault of all) {
        const name = nameOf(env, fault);
        faults.set(name, [...(faults.get(name) ?? []), fault]);
      }
    }
    return Response.json({ come });
  },
};

/** Subtrees have theirs by the id of their shard. */
function nameOf(env: Env, { object }: ObjectFault): string {
  const [run, shard, subtree] = object.split("/");
  if (subtree === undefined) return object;
  return `${env.PARAMETER_SHARD.idFromName(`${run}/${shard}`).toString()}/${subtree}`;
}

/** `context`, whose storage brings the faults of its object. */
function failing(context: DurableObjectState): DurableObjectState {
  const { storage } = context;
  const use = () => bringFaults(context);
  Object.defineProperty(context, "storage", {
    value: watched(storage, use, { sql: watched(storage.sql, use) }),
  });
  return context;
}

function bringFaults(context: DurableObjectState): void {
  const due = faults.get(context.id.name!)?.[0];
  if (!due || due.uses-- > 0) return;
  faults.get(context.id.name!)!.shift();
  come++;
  if (due.kind === "abort") context.abort("chaos");
  throw new Error(`chaos: ${due.kind}`);
}

/** `object`, each of whose methods calls `use` first; some properties stand for others. */
function watched<T extends object>(
  object: T,
  use: () => void,
  others: Partial<T> = {},
): T {
  return new Proxy(object, {
    get(target, name) {
      if (name in others) return others[name as keyof T];
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => {
        use();
        return Reflect.apply(value, target, given) as unknown;
      };
    },
  });
}
