/** Multipart uploads, for files larger than a request: parts in any order, at any time. */
import * as z from "zod";
import { AppError } from "../../api/errors.ts";
import type { FileUpload, StoredFile, UploadPart } from "../../api/tensors.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import { takeBack } from "../../objects/directory/unfinished-uploads.ts";
import { fileKey } from "../../objects/platform/stored-files.ts";
import { route } from "../declaration/route.ts";
import { json } from "../json.ts";
import { checkWrite, versionOf, WRITE_CONDITIONS } from "./conditions.ts";
import { storedFile } from "./file-schemas.ts";
import {
  findUpload,
  type FoundUpload,
  partLength,
  partsMissing,
  putTogether,
  uploadNotFound,
  uploadOf,
} from "./found-upload.ts";
import { GONE, UPLOAD_ERRORS } from "./stored-bytes.ts";
import { storePart, uploadBytes } from "./upload.ts";
import {
  answerSchema,
  type OutputOf,
  requestSchema,
  type Same,
} from "../declaration/schema.ts";

const MIB = 1024 * 1024;
/** R2's minimum for all parts but the last; the platform's maximum for a request. */
const PART_BYTES = { least: 5 * MIB, most: 95 * MIB };
const MAX_PARTS = 10_000;
const EXAMPLE = { bytes: 1000, partBytes: PART_BYTES.least };

const uploadRequest = requestSchema("FileUploadRequest", () =>
  z
    .strictObject({
      bytes: z.int().min(1).describe("Size of the file"),
      partBytes: z
        .int()
        .min(PART_BYTES.least)
        .max(PART_BYTES.most)
        .describe("Size of each part except the last, which has the rest"),
    })
    .refine(({ bytes, partBytes }) => bytes <= MAX_PARTS * partBytes, {
      message: `to ask for at most ${MAX_PARTS} parts`,
    }),
);

const uploadPart = answerSchema("UploadPart", () =>
  z.strictObject({
    part: z.int().min(1).describe("Part number, from 1"),
    bytes: z.int().min(1),
    digest: z.string().describe("SHA-256 in hexadecimal"),
  }),
);
true satisfies Same<OutputOf<typeof uploadPart>, UploadPart>;

const fileUpload = answerSchema("FileUpload", () =>
  z.strictObject({
    file: z.string(),
    upload: z.string().describe("Id of the upload, made of the two sizes"),
    bytes: z.int().min(1),
    partBytes: z.int().min(1),
    parts: z.array(uploadPart()).describe("The parts received, by number"),
  }),
);
true satisfies Same<OutputOf<typeof fileUpload>, FileUpload>;

export const FILE_UPLOAD_ROUTES = [
  route({
    id: "beginUpload",
    method: "post",
    path: "/v1/files/{file}/uploads",
    tag: "jobs",
    access: "owner",
    summary: "Begin or continue uploading a file in parts",
    description:
      "Uploads of a file are identified by their sizes: if one with these sizes is in progress, it is returned with the parts received. An upload that receives no part for a day is aborted.",
    body: {
      description: "Size of the file and of its parts",
      json: uploadRequest,
      code: "invalid_option",
    },
    answers: {
      200: { description: "It is already in progress", json: fileUpload },
      201: { description: "Begun", json: fileUpload },
    },
    examples: { file: { summary: "A small file", body: EXAMPLE } },
    async handle(c, { file, body: { bytes, partBytes } }) {
      const id = `${bytes}-${partBytes}`;
      const present = await findUpload(c, file, id);
      if (present) return json(toUpload(present), 200);
      const mark = crypto.randomUUID();
      const upload = await c.env.BUCKET.createMultipartUpload(fileKey(file), {
        customMetadata: { upload: id, mark },
      });
      const { uploadId, key } = upload;
      const entry = { file, upload: id, bytes, partBytes, uploadId, mark };
      const isEntered = await directoryStub(c.env).beginFileUpload(entry, key);
      if (isEntered) return json(toUpload({ ...entry, parts: [] }), 201);
      // A concurrent request has created the upload.
      await takeBack(upload);
      return json(toUpload(await uploadOf(c, file, id)), 200);
    },
  }),

  route({
    id: "getUpload",
    method: "get",
    path: "/v1/files/{file}/uploads/{upload}",
    tag: "jobs",
    access: "owner",
    summary: "Get the state of an upload in parts",
    answers: { 200: { description: "The upload", json: fileUpload } },
    handle: async (c, { file, upload }) =>
      json(toUpload(await uploadOf(c, file, upload))),
  }),

  route({
    id: "putPart",
    method: "put",
    path: "/v1/files/{file}/uploads/{upload}/{part}",
    tag: "jobs",
    access: "owner",
    summary: "Upload a part; replaces one with the same number",
    body: { description: "The part, with Content-Length" },
    answers: { 201: { description: "Received", json: uploadPart } },
    errors: [...UPLOAD_ERRORS],
    examples: {
      file: {
        summary: "The only part of a small file",
        body: new Uint8Array(EXAMPLE.bytes),
      },
    },
    async handle(c, { file, upload: id, part }) {
      const upload = await uploadOf(c, file, id);
      const expected = partLength(upload, part);
      const bytes = uploadBytes(c, "part", PART_BYTES.most);
      if (bytes !== expected) {
        throw new AppError(
          "malformed_body",
          `Expected part ${part} of ${expected} bytes, got ${bytes}`,
        );
      }
      const { uploadId } = upload;
      const parts = c.env.BUCKET.resumeMultipartUpload(fileKey(file), uploadId);
      if (upload.parts.some((present) => present.part === part))
        await directoryStub(c.env).forgetFilePart(uploadId, part);
      const { digest, etag } = await storePart(c, parts, part, bytes);
      const sent = { part, bytes, digest };
      await directoryStub(c.env).addFilePart(uploadId, { ...sent, etag });
      return json(sent satisfies UploadPart, 201);
    },
  }),

  route({
    id: "completeUpload",
    method: "post",
    path: "/v1/files/{file}/uploads/{upload}/complete",
    tag: "jobs",
    access: "owner",
    summary: "Complete an upload in parts; replaces a file of the same name",
    description: "Idempotent.",
    headers: WRITE_CONDITIONS,
    answers: { 201: { description: "Stored", json: storedFile } },
    errors: ["parts_missing", "precondition_failed"],
    async handle(c, { file, upload: id, ...conditions }) {
      const key = fileKey(file);
      const upload = await findUpload(c, file, id);
      const present = await c.env.BUCKET.head(key);
      if (!upload) {
        if (present?.customMetadata?.upload !== id)
          throw uploadNotFound(file, id);
        return stored(file, present.size);
      }
      const { bytes, partBytes, parts, uploadId } = upload;
      const count = Math.ceil(bytes / partBytes);
      const came = new Set(parts.map(({ part }) => part));
      const missing = Array.from({ length: count }, (_, i) => i + 1).filter(
        (part) => !came.has(part),
      );
      if (missing.length > 0) throw partsMissing(count, missing);
      // If a file of this very upload exists, completion was interrupted by a crash.
      if (present?.customMetadata?.mark !== upload.mark)
        checkWrite(conditions, present && versionOf(present));
      await putTogether(c, upload, key, count);
      await directoryStub(c.env).endParts(uploadId);
      return stored(file, bytes);
    },
  }),

  route({
    id: "abortUpload",
    method: "delete",
    path: "/v1/files/{file}/uploads/{upload}",
    tag: "jobs",
    access: "owner",
    summary: "Abort an upload in parts, and delete what was received",
    answers: GONE,
    async handle(c, { file, upload: id }) {
      const { uploadId } = await uploadOf(c, file, id);
      const key = fileKey(file);
      await takeBack(c.env.BUCKET.resumeMultipartUpload(key, uploadId));
      await directoryStub(c.env).endParts(uploadId);
      return c.body(null, 204);
    },
  }),
];

function stored(name: string, bytes: number): Response {
  return json({ name, bytes, digest: null } satisfies StoredFile, 201);
}

function toUpload(upload: FoundUpload): FileUpload {
  const { uploadId: _id, mark: _mark, parts, ...rest } = upload;
  return { ...rest, parts: parts.map(({ etag: _etag, ...part }) => part) };
}
