/** What a Worker's start leaves to the requests that need it. */
import { expect, test, vi } from "vitest";
import type * as zod from "zod";
import "../../src/objects/job/job.ts";
import "../../src/objects/run/run.ts";
import { problemOf, send } from "./support.ts";

const made = vi.hoisted(() => ({ schemas: 0 }));

vi.mock("zod", async (original) => {
  const z = await original<typeof zod>();
  const entries = Object.entries(z).map(([name, value]: [string, unknown]) => [
    name,
    typeof value === "function" ? counted(value) : value,
  ]);
  return Object.fromEntries(entries) as object;

  function counted(value: object): object {
    return new Proxy(value, {
      apply(make, self, args) {
        const result: unknown = Reflect.apply(
          make as () => unknown,
          self,
          args,
        );
        if (result instanceof z.ZodType) made.schemas++;
        return result;
      },
    });
  }
});

test("the Worker's modules make no schema; a route's is made for the first body that it checks, once", async () => {
  await send("/healthz");
  expect(made.schemas).toBe(0);

  const afterRefusal = async (): Promise<number> => {
    const answer = await send("/v1/runs", { method: "POST", body: "{}" });
    await problemOf(answer, 422, "invalid_config");
    return made.schemas;
  };
  const first = await afterRefusal();
  expect(first).toBeGreaterThan(10);
  expect(await afterRefusal()).toBe(first);
});
