/**
 * JSON calls between the Worker and an object, by itty-durable. The object holds what `jsonCalls` returns and
 * forwards requests to it; the Worker calls methods on what `jsonStub` returns.
 *
 * Arguments are sent as ASCII JSON in a request header, so they must be small; tensors are never sent this way.
 * Expected errors are returned as values (`Result`), since itty-durable turns anything thrown into a 500.
 */
import { createDurable, proxyDurable } from "itty-durable";
import { fromResult, type Result, toResult } from "../../api/errors.ts";

type Methods = Record<string, (...args: never[]) => unknown>;

export type JsonStub<M extends Methods> = {
  [Name in keyof M]: (
    ...args: Parameters<M[Name]>
  ) => Promise<Awaited<ReturnType<M[Name]>>>;
};

/** Path prefix of itty-durable's requests; an object's own requests use other paths. */
export const JSON_CALL_PATH = "/do/";

/**
 * Answers calls of `methods`; `before` is called first each time. The methods manage storage themselves; nothing is
 * persisted automatically.
 */
export function jsonCalls(
  ctx: DurableObjectState,
  methods: Methods,
  before: () => void = () => {},
): { fetch(request: Request): Promise<Response> } {
  class Calls extends createDurable() {}
  for (const [name, method] of Object.entries(methods)) {
    Object.defineProperty(Calls.prototype, name, {
      value: (args: string) =>
        toResult(() => {
          before();
          return method(...(JSON.parse(args) as never[]));
        }),
    });
  }
  return new Calls({ storage: ctx.storage, id: ctx.id });
}

/** A stub for the object of this name. Its methods throw the `AppError` that the object's methods threw. */
export function jsonStub<M extends Methods>(
  namespace: DurableObjectNamespace,
  name: string,
): JsonStub<M> {
  // Pass the id: itty-durable would take a name of 64 hexadecimal digits for an id.
  const id = namespace.idFromName(name);
  const calls = proxyDurable(namespace, { parse: true }).get(id) as Record<
    string,
    (args: string) => Promise<Result<unknown>>
  >;
  return new Proxy({} as JsonStub<M>, {
    get(_target, method) {
      // Otherwise `await stub` would take the stub for a promise and call its `then`.
      if (typeof method !== "string" || method === "then") return undefined;
      return async (...args: unknown[]) =>
        fromResult(await calls[method]!(asciiJson(args)));
    },
  });
}

/** Escapes all but ASCII: headers have one byte per character, and file names may have others. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
