/** Shards whose answers come when a test lets them: what passes amid a commit. */
import type { ObjectBindings } from "../../src/objects/platform/bindings.ts";
import { bindings } from "./run.ts";

/** The bindings, whose shards hold back what `held` gives, its work done, from when it is `asked` for until it is let go. */
export function heldShards(held: "prepare" | "apply"): {
  env: ObjectBindings;
  asked: Promise<void>;
  letGo: () => void;
} {
  const asked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const holding = (shard: object) =>
    new Proxy(shard, {
      get: (stub, method: string) => {
        const calls = stub as Record<string, (...args: unknown[]) => unknown>;
        return async (...args: unknown[]) => {
          const answer = await calls[method]!(...args);
          if (method !== held) return answer;
          asked.resolve();
          await released.promise;
          return answer;
        };
      },
    });
  const getByName = (name: string) =>
    holding(bindings.PARAMETER_SHARD.getByName(name));
  const env = {
    ...bindings,
    PARAMETER_SHARD: { getByName },
  } as unknown as ObjectBindings;
  return { env, asked: asked.promise, letGo: released.resolve };
}
