/** An OpenAPI document as a caller reads it: requests from its examples, answers held to its schemas. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect } from "vitest";
import { decodeFrame, encodeFrame } from "../../src/api/frame.ts";

type Value = string | number;
type Media = Record<
  string,
  { schema: object; examples?: Record<string, { value: unknown }> }
>;
/** A whole request apart from its path, and from a body of JSON, which is the body's example of the name. */
type Example = {
  query?: Record<string, Value>;
  headers?: Record<string, string>;
  base64?: string;
};

export type DescribedOperation = {
  operationId: string;
  parameters?: {
    name: string;
    in: "path" | "query" | "header";
    schema: object;
    example?: Value;
  }[];
  requestBody?: { content: Media };
  responses: Record<
    string,
    { headers?: Record<string, { required: boolean }>; content?: Media }
  >;
  "x-examples"?: Record<string, Example>;
};

export type Document = {
  paths: Record<string, Record<string, DescribedOperation>>;
};

/** An order of operations in which each example finds what it needs. */
export const ORDER = [
  "health",
  "version",
  "description",
  "quantize",
  "dequantize",
  "repack",
  "analyze",
  "hadamard",
  "gemm",
  "putFile",
  "listFiles",
  "getFile",
  "beginUpload",
  "putPart",
  "getUpload",
  "completeUpload",
  "abortUpload",
  "getFolder",
  "createJob",
  "listJobs",
  "getJob",
  "deleteJob",
  "deleteFile",
  "deleteFolder",
  "putDataset",
  "getDataset",
  "listDatasets",
  "getTokens",
  "getTokenizer",
  "createRun",
  "listRuns",
  "getRun",
  "takeLease",
  "completeLease",
  "leaveRun",
  "pullParameters",
  "pushGradient",
  "addTrainers",
  "listTokens",
  "setTokenState",
  "rewindRun",
  "setRunState",
  "getMetrics",
  "getStep",
  "listStates",
  "serviceMetrics",
  "getEvents",
  "getCheckpoint",
  "generateFromRun",
  "generate",
  "deleteRun",
  "deleteDataset",
];

/** A gradient of zeros for the shard whose frame of parameters this is. */
export async function gradientFor(
  frame: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const { step, start, length } = await decodeFrame(frame.slice());
  const header = { kind: "gradient", dtype: "mxfp4", microbatch: 0 } as const;
  const payload = new Uint8Array(length / 2 + length / 32);
  return encodeFrame({ ...header, step, start, length }, payload);
}

/** Operations that show the key of the lease that `takeLease` gave. */
export const NEEDS_LEASE = new Set(["completeLease", "pushGradient"]);

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
      const names = Object.keys(operation["x-examples"] ?? {});
      return [...(names.length > 0 ? names : ["example"])].map((name) => ({
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
  more: Record<string, string> = {},
): Promise<Response> {
  const example = operation["x-examples"]?.[name];
  const headers = new Headers({ ...example?.headers, ...more });
  const query = new URLSearchParams();
  let url = path;
  for (const parameter of operation.parameters ?? []) {
    if (parameter.example === undefined) continue;
    const text = String(parameter.example);
    if (parameter.in === "path") {
      url = url.replace(`{${parameter.name}}`, text);
    } else query.set(parameter.name, text);
  }
  for (const [key, value] of Object.entries(example?.query ?? {}))
    query.set(key, String(value));
  const [[type, media] = []] = Object.entries(
    operation.requestBody?.content ?? {},
  );
  if (type !== undefined) headers.set("Content-Type", type);
  const sent = body ?? bodyOf(example, media?.examples?.[name]);
  return fetch(`${origin}${url}?${query.toString()}`, {
    method,
    headers,
    ...(sent === undefined ? {} : { body: sent }),
  });
}

function bodyOf(
  example?: Example,
  json?: { value: unknown },
): BodyInit | undefined {
  if (example?.base64 !== undefined)
    return new Uint8Array(Buffer.from(example.base64, "base64"));
  return json && JSON.stringify(json.value);
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
    const { content } = described!;
    if (content === undefined) {
      expect(text).toBe("");
      return body;
    }
    const type = response.headers.get("Content-Type")!;
    expect(Object.keys(content)).toContain(type);
    if (type.endsWith("json")) this.#checkSchema(content[type]!.schema, text);
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
