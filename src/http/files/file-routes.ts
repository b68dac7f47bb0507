/** The bucket's files, input and output of jobs. Larger ones can be uploaded by R2's own S3 interface. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import type { FilePage, StoredFile } from "../../api/tensors.ts";
import {
  fileKey,
  isFolder,
  lastOf,
  nameOfKey,
} from "../../objects/platform/stored-files.ts";
import { next, time, whole } from "../declaration/json-values.ts";
import { limit } from "../declaration/page.ts";
import { textParameter } from "../declaration/parameter.ts";
import { route } from "../declaration/route.ts";
import { exampleCheckpoint } from "../tensors/tensor-descriptions.ts";
import { checkWrite, versionOf, WRITE_CONDITIONS } from "./conditions.ts";
import {
  answerStored,
  GONE,
  READ_ERRORS,
  READ_HEADERS,
  saved,
  storedAnswers,
  UPLOAD_ERRORS,
} from "./stored-bytes.ts";
import { storeUpload, uploadBytes } from "./upload.ts";
import { storedFile } from "./file-schemas.ts";
import { json } from "../json.ts";
import {
  answerSchema,
  type OutputOf,
  type Same,
} from "../declaration/schema.ts";

/** The bucket's limit for one put. */
const MAX_FILE_BYTES = 4995 * 1024 * 1024;
const LARGER = "; put it into the bucket by the S3 interface, under files/";

const filePage = answerSchema("FilePage", () =>
  z.strictObject({
    files: z.array(
      z.strictObject({
        name: z.string(),
        bytes: whole(),
        storedMs: time(),
      }),
    ),
    next: next(),
  }),
);
true satisfies Same<OutputOf<typeof filePage>, FilePage>;

export const FILE_ROUTES = [
  route({
    id: "listFiles",
    method: "get",
    path: "/v1/files",
    tag: "jobs",
    access: "owner",
    summary: "List the stored files, by name",
    query: {
      prefix: textParameter(
        "Prefix of their names: `name/` for those in a folder",
      ),
      limit: limit(1000, 100),
      // No pattern: names of files uploaded by the S3 interface may be any.
      cursor: textParameter("The `next` of the previous page"),
    },
    answers: { 200: { description: "A page", json: filePage } },
    examples: {
      some: {
        summary: "The first page, of files whose names have a prefix",
        query: { prefix: "example" },
      },
    },
    async handle(c, { prefix = "", limit: most, cursor }) {
      const { objects, truncated } = await c.env.BUCKET.list({
        prefix: fileKey(prefix),
        limit: most,
        ...(cursor !== undefined && { startAfter: fileKey(cursor) }),
      });
      const files = objects.map(({ key, size, uploaded }) => ({
        name: nameOfKey(key),
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
      "Replaces a file of the same name, unless If-None-Match or If-Match forbid it. Idempotent. Upload files larger than the platform's request limit in parts, or by R2's S3 interface, under files/.",
    headers: WRITE_CONDITIONS,
    body: { description: "The file, with Content-Length" },
    answers: {
      201: {
        description: "Stored",
        json: storedFile,
        headers: { ETag: "Of the content" },
      },
    },
    errors: [...UPLOAD_ERRORS, "precondition_failed"],
    examples: {
      checkpoint: { summary: "A safetensors file", body: exampleCheckpoint },
    },
    async handle(c, { file: name, ...conditions }) {
      const bytes = uploadBytes(c, "file", MAX_FILE_BYTES, LARGER);
      const key = fileKey(name);
      const check = (): Promise<R2Conditional> =>
        checkPresent(c.env.BUCKET, key, conditions);
      // Checked before the body is read.
      await check();
      const { digest, etag } = await storeUpload(c, key, bytes, check);
      const answer = json({ name, bytes, digest } satisfies StoredFile, 201);
      answer.headers.set("ETag", etag);
      return answer;
    },
  }),

  route({
    id: "getFile",
    method: "get",
    path: "/v1/files/{file}",
    tag: "jobs",
    access: "owner",
    summary: "Download a stored file, or a range of it",
    headers: READ_HEADERS,
    answers: storedAnswers("Of the content"),
    errors: ["file_not_found", ...READ_ERRORS],
    examples: {
      all: { summary: "Everything" },
      head: { summary: "The first bytes", headers: { Range: "bytes=0-7" } },
    },
    async handle(c, { file: name, ...asked }) {
      const key = fileKey(name);
      // If a version is replaced meanwhile, the next one is read.
      for (;;) {
        const present = await c.env.BUCKET.head(key);
        if (!present) {
          const isOne = await isFolder(c.env.BUCKET, name);
          throw notFound(
            name,
            isOne ? ", a folder: GET /v1/folders/ has all of it as a tar" : "",
          );
        }
        const { size: bytes, httpEtag: etag } = present;
        const stored = { key, bytes, etag, present };
        const response = await answerStored(c, stored, asked);
        if (response) return saved(response, lastOf(name));
      }
    },
  }),

  route({
    id: "deleteFile",
    method: "delete",
    path: "/v1/files/{file}",
    tag: "jobs",
    access: "owner",
    summary: "Delete a stored file",
    headers: WRITE_CONDITIONS,
    answers: GONE,
    errors: ["file_not_found", "precondition_failed"],
    async handle(c, { file: name, ...conditions }) {
      const present = await c.env.BUCKET.head(fileKey(name));
      if (!present) throw notFound(name);
      checkWrite(conditions, versionOf(present));
      await c.env.BUCKET.delete(fileKey(name));
      return c.body(null, 204);
    },
  }),
];

/**
 * Checks the conditions, if any; the returned condition makes the bucket check that the same version is still stored.
 * Errors: `precondition_failed`
 */
async function checkPresent(
  bucket: R2Bucket,
  key: string,
  conditions: Parameters<typeof checkWrite>[0],
): Promise<R2Conditional> {
  if (Object.values(conditions).every((each) => each === undefined)) return {};
  const present = await bucket.head(key);
  checkWrite(conditions, present && versionOf(present));
  return present ? { etagMatches: present.etag } : { etagDoesNotMatch: "*" };
}

function notFound(name: string, why = ""): AppError {
  return new AppError(
    "file_not_found",
    `Expected the name of a file, got "${name}"${why}`,
  );
}
