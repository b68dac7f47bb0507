/**
 * JSON calls between the Worker and an object, by itty-durable. The object holds what `jsonCalls`
 * returns and passes its requests on; the Worker calls methods on what `jsonStub` returns.
 *
 * Arguments travel as JSON in a request header, so they are small, and as a JSON text of ASCII alone. Tensors never come this way.
 * Expected failures cross as values (`Result`), since itty-durable makes a 500 of what is thrown.
 */
import { createDurable, proxyDurable } from "itty-durable";
import { fromResult, type Result, toResult } from "../../api/errors.ts";

type Methods = Record<string, (...args: never[]) => unknown>;

export type JsonStub<M extends Methods> = {
  [Name in keyof M]: (
    ...args: Parameters<M[Name]>
  ) => Promise<Awaited<ReturnType<M[Name]>>>;
};

/** Where itty-durable's requests go; an object's own ones use other paths. */
export const JSON_CALL_PATH = "/do/";

/**
 * Answers the calls of `methods`, `before` each of which something may be done. Storage is the methods'
 * own business: nothing persists by itself.
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

/** The object of this name; its methods throw the `AppError` that the object's did. */
export function jsonStub<M extends Methods>(
  namespace: DurableObjectNamespace,
  name: string,
): JsonStub<M> {
  // Not by name: itty-durable takes a name of 64 hexadecimal digits for an id.
  const id = namespace.idFromName(name);
  const calls = proxyDurable(namespace, { parse: true }).get(id) as Record<
    string,
    (args: string) => Promise<Result<unknown>>
  >;
  return new Proxy({} as JsonStub<M>, {
    get(_target, method) {
      // Without this, an `await` would take the stub for a promise and call its `then`.
      if (typeof method !== "string" || method === "then") return undefined;
      return async (...args: unknown[]) =>
        fromResult(await calls[method]!(asciiJson(args)));
    },
  });
}

/** Headers bear one byte a character, and names of files have others. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
