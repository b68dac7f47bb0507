/** Shards whose norms come when a test lets them: what passes amid a commit. */
import type { ObjectBindings } from "../../src/objects/platform/bindings.ts";
import { bindings } from "./run.ts";

/** The bindings, whose shards hold back their norms from when they are `asked` until they are let go. */
export function heldNorms(): {
  env: ObjectBindings;
  asked: Promise<void>;
  letGo: () => void;
} {
  const asked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const held = (shard: object) =>
    new Proxy(shard, {
      get: (stub, method: string) => {
        const calls = stub as Record<string, (...args: unknown[]) => unknown>;
        return async (...args: unknown[]) => {
          const answer = await calls[method]!(...args);
          if (method !== "prepare") return answer;
          asked.resolve();
          await released.promise;
          return answer;
        };
      },
    });
  const getByName = (name: string) =>
    held(bindings.PARAMETER_SHARD.getByName(name));
  const env = {
    ...bindings,
    PARAMETER_SHARD: { getByName },
  } as unknown as ObjectBindings;
  return { env, asked: asked.promise, letGo: released.resolve };
}
