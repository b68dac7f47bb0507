/** Whole folders of the bucket; single files are under /v1/files. */
import { jsonDigest } from "../../api/digest.ts";
import { AppError } from "../../api/errors.ts";
import {
  filesIn,
  lastOf,
  nameOfKey,
  removeFiles,
} from "../../objects/platform/stored-files.ts";
import { route } from "../declaration/route.ts";
import { isKnown } from "./conditions.ts";
import {
  answerBytes,
  GONE,
  headersOf,
  rangeOf,
  READ_ERRORS,
  READ_HEADERS,
  saved,
  storedAnswers,
} from "./stored-bytes.ts";
import { layOutTar, readTar } from "./tar.ts";

const TAR = "application/x-tar";

export const FOLDER_ROUTES = [
  route({
    id: "getFolder",
    method: "get",
    path: "/v1/folders/{folder}",
    tag: "jobs",
    access: "owner",
    summary: "Download all files of a folder as one tar, or a range of it",
    description:
      "A folder consists of the files of /v1/files whose names begin with its name and a slash, including subfolders. If a file is replaced during the download, the response breaks off. To resume, request a range with If-Range.",
    headers: READ_HEADERS,
    answers: storedAnswers("Of names, contents and times", TAR),
    errors: ["file_not_found", ...READ_ERRORS],
    examples: {
      all: { summary: "Everything" },
      head: { summary: "The first bytes", headers: { Range: "bytes=0-511" } },
    },
    async handle(c, { folder, ...asked }) {
      const { BUCKET } = c.env;
      const files = await filesIn(BUCKET, folder);
      if (files.length === 0) throw notFound(folder);
      const etag = await etagOf(files);
      const storedMs = Math.max(
        ...files.map(({ uploaded }) => uploaded.getTime()),
      );
      if (isKnown(asked, { etag, storedMs }))
        return new Response(null, { status: 304, headers: { ETag: etag } });
      const tar = layOutTar(
        files.map(({ key, size, uploaded }) => ({
          name: nameOfKey(key),
          bytes: size,
          modifiedMs: uploaded.getTime(),
        })),
      );
      const stored = new Date(storedMs);
      const fileName = `${lastOf(folder)}.tar`;
      if (c.req.method === "HEAD") {
        const headers = headersOf(stored, tar.bytes, etag, TAR);
        return saved(new Response(null, { headers }), fileName);
      }
      const range = rangeOf(c, asked, tar.bytes, etag);
      const all = { offset: 0, length: tar.bytes };
      const { body, written } = readTar(
        tar,
        range ?? all,
        async (entry, part) => {
          const { key, etag: version } = files[entry]!;
          const object = await BUCKET.get(key, {
            range: part,
            onlyIf: { etagMatches: version },
          });
          if (object && "body" in object) return object.body;
          throw new Error(`Expected ${key} as it was listed, got another`);
        },
      );
      // Failures only break off the response: the client left, or a file was replaced.
      c.executionCtx.waitUntil(written.catch(() => {}));
      const answer = answerBytes(body, stored, tar.bytes, etag, range, TAR);
      return saved(answer, fileName);
    },
  }),

  route({
    id: "deleteFolder",
    method: "delete",
    path: "/v1/folders/{folder}",
    tag: "jobs",
    access: "owner",
    summary: "Delete all files of a folder",
    answers: GONE,
    errors: ["file_not_found"],
    async handle(c, { folder }) {
      const files = await filesIn(c.env.BUCKET, folder);
      if (files.length === 0) throw notFound(folder);
      await removeFiles(c.env.BUCKET, files);
      return c.body(null, 204);
    },
  }),
];

/** A strong ETag: a digest of everything that the tar's bytes depend on. */
async function etagOf(files: readonly R2Object[]): Promise<string> {
  const told = files.map(({ key, size, etag, uploaded }) => [
    key,
    size,
    etag,
    Math.floor(uploaded.getTime() / 1000),
  ]);
  return `"${await jsonDigest(told)}"`;
}

function notFound(folder: string): AppError {
  return new AppError(
    "file_not_found",
    `Expected the name of a folder with files in it, got "${folder}"`,
  );
}
