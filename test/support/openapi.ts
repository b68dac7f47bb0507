/** An OpenAPI document as a caller reads it: requests from its examples, answers held to its schemas. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect } from "vitest";

type Described = { schema: object; examples?: Record<string, Example> };
type Value = string | number;
type Example = { value?: Value | Value[]; externalValue?: string };
type Media = Record<string, Described>;

export type DescribedOperation = {
  operationId: string;
  parameters?: (Described & {
    name: string;
    in: "path" | "query" | "header";
    example?: Value;
  })[];
  requestBody?: { content: Media };
  responses: Record<
    string,
    { headers?: Record<string, { required: boolean }>; content?: Media }
  >;
};

export type Document = {
  paths: Record<string, Record<string, DescribedOperation>>;
};

/** One request: an operation, and the name that ties its examples together. */
export type ExampleRequest = {
  name: string;
  method: string;
  path: string;
  operation: DescribedOperation;
};

/** The requests of an operation: one a name, or one without any. */
export function examplesOf(
  document: Document,
  operationId: string,
): ExampleRequest[] {
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (operation.operationId !== operationId) continue;
      const bodies = Object.values(operation.requestBody?.content ?? {});
      const described = [...(operation.parameters ?? []), ...bodies];
      const names = new Set(
        described.flatMap(({ examples = {} }) => Object.keys(examples)),
      );
      return [...(names.size > 0 ? names : ["example"])].map((name) => ({
        name,
        method: method.toUpperCase(),
        path,
        operation,
      }));
    }
  }
  throw new Error(`Expected an operation, got "${operationId}"`);
}

/** Send an example, with `body` in place of its own where it has none. */
export async function sendExample(
  origin: string,
  { name, method, path, operation }: ExampleRequest,
  body?: BodyInit,
): Promise<Response> {
  const query = new URLSearchParams();
  const headers = new Headers();
  let url = path;
  for (const parameter of operation.parameters ?? []) {
    const value = parameter.example ?? parameter.examples?.[name]?.value;
    if (value === undefined) continue;
    const text = String(value);
    if (parameter.in === "path") {
      url = url.replace(`{${parameter.name}}`, text);
    } else if (parameter.in === "query") {
      for (const each of [value].flat())
        query.append(parameter.name, String(each));
    } else headers.set(parameter.name, text);
  }
  const [[type, media] = []] = Object.entries(
    operation.requestBody?.content ?? {},
  );
  if (type !== undefined) headers.set("Content-Type", type);
  const sent = body ?? (await bodyOf(media?.examples?.[name]));
  return fetch(`${origin}${url}?${query.toString()}`, {
    method,
    headers,
    ...(sent === undefined ? {} : { body: sent }),
  });
}

async function bodyOf(example?: Example): Promise<BodyInit | undefined> {
  if (example?.externalValue) {
    return (await fetch(example.externalValue)).arrayBuffer();
  }
  return example && JSON.stringify(example.value);
}

/** Holds answers to the document: status, headers, media type, schema. */
export class AnswerJudge {
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false });

  constructor(document: Document) {
    this.#ajv.addSchema({ $id: "openapi", ...document });
  }

  async check(
    operation: DescribedOperation,
    response: Response,
  ): Promise<Uint8Array> {
    const body = new Uint8Array(await response.arrayBuffer());
    const text = new TextDecoder().decode(body);
    const described = operation.responses[response.status];
    expect(
      described,
      `${response.status}: ${text.slice(0, 500)}`,
    ).toBeDefined();
    for (const name of Object.keys(described!.headers ?? {})) {
      expect(response.headers.get(name), name).not.toBeNull();
    }
    const [[type, media] = []] = Object.entries(described!.content ?? {});
    if (type === undefined) {
      expect(text).toBe("");
      return body;
    }
    expect(response.headers.get("Content-Type")).toBe(type);
    if (type.endsWith("json")) this.#checkSchema(media!.schema, text);
    return body;
  }

  #checkSchema(schema: object, text: string): void {
    // References are to the document, wherever the schema that has them stands.
    const rooted = JSON.parse(
      JSON.stringify(schema).replaceAll('"#/', '"openapi#/'),
    ) as object;
    const validate = this.#ajv.compile(rooted);
    validate(JSON.parse(text));
    expect(validate.errors, text.slice(0, 500)).toBeNull();
  }
}
