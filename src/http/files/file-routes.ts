/** Files in the bucket, for jobs to read and write. Larger ones may come by R2's own S3 interface. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import type { FilePage, StoredFile } from "../../api/tensors.ts";
import { fileKey } from "../../objects/job/job-work.ts";
import { limit, NAME_CURSOR } from "../declaration/page.ts";
import { text } from "../declaration/parameter.ts";
import { ANSWER_SCHEMAS, route, type Same } from "../declaration/route.ts";
import { exampleCheckpoint } from "../tensors/tensor-descriptions.ts";
import { readRange } from "./byte-range.ts";
import {
  GONE,
  RANGE,
  rangedAnswer,
  rangedAnswers,
  UPLOAD_ERRORS,
} from "./stored-bytes.ts";
import { storeUpload, uploadBytes } from "./upload.ts";
import { json } from "../json.ts";

/** Of one put into a bucket. */
const MAX_FILE_BYTES = 4995 * 1024 * 1024;
const LARGER = "; put it into the bucket by the S3 interface, under files/";

const storedFile = z
  .strictObject({
    name: z.string(),
    bytes: z.int().min(0),
    digest: z.string().describe("SHA-256 in hexadecimal"),
  })
  .register(ANSWER_SCHEMAS, { id: "StoredFile" });
true satisfies Same<z.output<typeof storedFile>, StoredFile>;

const filePage = z
  .strictObject({
    files: z.array(
      z.strictObject({
        name: z.string(),
        bytes: z.int().min(0),
        storedMs: z.int().min(0).describe("Milliseconds since the epoch"),
      }),
    ),
    next: z.string().nullable().describe("The cursor of the page behind this"),
  })
  .register(ANSWER_SCHEMAS, { id: "FilePage" });
true satisfies Same<z.output<typeof filePage>, FilePage>;

export const FILE_ROUTES = [
  route({
    id: "listFiles",
    method: "get",
    path: "/v1/files",
    tag: "jobs",
    access: "owner",
    summary: "The stored files, by name",
    query: {
      prefix: text("What their names begin with"),
      limit: limit(1000, 100),
      cursor: NAME_CURSOR,
    },
    answers: { 200: { description: "A page", json: filePage } },
    errors: ["invalid_option"],
    examples: {
      some: { summary: "Some of them", query: { prefix: "example" } },
    },
    async handle(c, { prefix = "", limit: most, cursor }) {
      const { objects, truncated } = await c.env.BUCKET.list({
        prefix: fileKey(prefix),
        limit: most,
        ...(cursor !== undefined && { startAfter: fileKey(cursor) }),
      });
      const files = objects.map(({ key, size, uploaded }) => ({
        name: key.slice(fileKey("").length),
        bytes: size,
        storedMs: uploaded.getTime(),
      }));
      const next = truncated ? files.at(-1)!.name : null;
      return json({ files, next } satisfies FilePage);
    },
  }),

  route({
    id: "putFile",
    method: "put",
    path: "/v1/files/{file}",
    tag: "jobs",
    access: "owner",
    summary: "Store a file for jobs",
    description:
      "In place of one that has the name; repeating it changes nothing. Larger files than the platform takes in one request come by R2's S3 interface, under files/.",
    body: { description: "The file, with Content-Length" },
    answers: { 201: { description: "Stored", json: storedFile } },
    errors: UPLOAD_ERRORS,
    examples: {
      checkpoint: { summary: "A safetensors file", body: exampleCheckpoint },
    },
    async handle(c, { file: name }) {
      const bytes = uploadBytes(c, "file", MAX_FILE_BYTES, LARGER);
      const digest = await storeUpload(c, fileKey(name), bytes);
      return json({ name, bytes, digest } satisfies StoredFile, 201);
    },
  }),

  route({
    id: "getFile",
    method: "get",
    path: "/v1/files/{file}",
    tag: "jobs",
    access: "owner",
    summary: "A stored file, or a range of it",
    headers: RANGE,
    answers: rangedAnswers("Of the content"),
    errors: ["file_not_found", "range_not_satisfiable", "invalid_name"],
    examples: {
      all: { summary: "Everything" },
      head: { summary: "The first bytes", headers: { Range: "bytes=0-7" } },
    },
    async handle(c, { file: name, Range: header }) {
      const present = await c.env.BUCKET.head(fileKey(name));
      if (!present) throw notFound(name);
      const { size, etag, httpEtag } = present;
      const range = header ? readRange(header, size) : undefined;
      const object = await c.env.BUCKET.get(fileKey(name), range && { range });
      if (!object || object.etag !== etag) throw notFound(name);
      return rangedAnswer(object, range, size, httpEtag);
    },
  }),

  route({
    id: "deleteFile",
    method: "delete",
    path: "/v1/files/{file}",
    tag: "jobs",
    access: "owner",
    summary: "Remove a stored file",
    answers: GONE,
    errors: ["file_not_found", "invalid_name"],
    async handle(c, { file: name }) {
      if (!(await c.env.BUCKET.head(fileKey(name)))) throw notFound(name);
      await c.env.BUCKET.delete(fileKey(name));
      return c.body(null, 204);
    },
  }),
];

function notFound(name: string): AppError {
  return new AppError(
    "file_not_found",
    `Expected the name of a file, got "${name}"`,
  );
}
