/** Arguments of calls between the Worker and its objects, as they travel. */
import { expect, test } from "vitest";
import { AppError } from "../../src/api/errors.ts";
import { jsonCalls, jsonStub } from "../../src/objects/platform/json-calls.ts";

test("arguments of any signs are ASCII in the header, and arrive as they were", async () => {
  const methods = {
    told: (...args: unknown[]) => args,
    refused: (name: string) => {
      throw new AppError("invalid_name", `Expected another, got ${name}`);
    },
  };
  const storage = { get: () => Promise.resolve(undefined) };
  const state = { storage } as unknown as DurableObjectState;
  const calls = jsonCalls(state, methods);
  const headers: string[] = [];
  const namespace = {
    idFromName: (name: string) => ({ name }),
    get: () => ({
      fetch(request: Request) {
        headers.push(...[...request.headers].map(([, value]) => value));
        return calls.fetch(request);
      },
    }),
  };
  const stub = jsonStub<typeof methods>(
    namespace as unknown as DurableObjectNamespace,
    "any",
  );
  const args = [
    "модель 1.gguf",
    { "é\u007f🙂": ['\\u0436 "', "\ud83d"] },
    null,
  ];
  expect(await stub.told(...args)).toEqual(args);
  await expect(stub.refused("ж")).rejects.toMatchObject({
    code: "invalid_name",
    message: "Expected another, got ж",
  });
  expect(headers.length).toBeGreaterThanOrEqual(2);
  for (const header of headers) expect(header).toMatch(/^[\x20-\x7e]*$/);
});
