/** Files in the bucket, for jobs to read and write. Larger ones may come by R2's own S3 interface. */
import { Hono } from "hono";
import { AppError } from "../../api/errors.ts";
import type { StoredFile } from "../../api/tensors.ts";
import { fileKey } from "../../objects/job/job-work.ts";
import { readRange } from "./byte-range.ts";
import type { AppEnv } from "../env.ts";
import { fileName } from "../path.ts";
import { storeUpload, uploadBytes } from "./upload.ts";

/** Of one put into a bucket. */
const MAX_FILE_BYTES = 4995 * 1024 * 1024;
const LARGER = "; put it into the bucket by the S3 interface, under files/";

export const fileRoutes = new Hono<AppEnv>()

  /**
   * Store a file under a name, in place of one that has it. Repeating it changes nothing.
   *
   * Path:   file   letters, digits, `.`, `_`, `-`; at most 64
   * Body:   at most what the platform takes in one request, with Content-Length
   * 201:    a StoredFile: { name, bytes, digest }
   * Errors: 400 malformed_body (it ended early; nothing is stored), 411 length_required,
   *         413 body_too_large, 422 invalid_name
   */
  .put("/v1/files/:file", async (c) => {
    const name = fileName(c.req.param("file"));
    const bytes = uploadBytes(c, "file", MAX_FILE_BYTES, LARGER);
    const key = fileKey(name);
    const digest = await storeUpload(c.env.BUCKET, key, c.req.raw.body, bytes);
    return c.json({ name, bytes, digest } satisfies StoredFile, 201);
  })

  /**
   * A file, or a range of it.
   *
   * Header: Range   one range of bytes, as in `bytes=0-4095`
   * 206:    that range, with Content-Range;  200: all, when there is no Range
   * Errors: 404 file_not_found, 416 range_not_satisfiable, 422 invalid_name
   */
  .get("/v1/files/:file", async (c) => {
    const name = fileName(c.req.param("file"));
    const present = await c.env.BUCKET.head(fileKey(name));
    if (!present) throw notFound(name);
    const header = c.req.header("Range");
    const range = header ? readRange(header, present.size) : undefined;
    const object = await c.env.BUCKET.get(fileKey(name), range && { range });
    if (!object || object.etag !== present.etag) throw notFound(name);
    const { offset, length } = range ?? { offset: 0, length: present.size };
    const last = offset + length - 1;
    return c.body(object.body, range ? 206 : 200, {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(length),
      "Accept-Ranges": "bytes",
      "X-Content-Type-Options": "nosniff",
      ETag: object.httpEtag,
      ...(range && {
        "Content-Range": `bytes ${offset}-${last}/${present.size}`,
      }),
    });
  })

  /**
   * Remove a file.
   *
   * 204:    gone
   * Errors: 404 file_not_found, 422 invalid_name
   */
  .delete("/v1/files/:file", async (c) => {
    const name = fileName(c.req.param("file"));
    if (!(await c.env.BUCKET.head(fileKey(name)))) throw notFound(name);
    await c.env.BUCKET.delete(fileKey(name));
    return c.body(null, 204);
  });

function notFound(name: string): AppError {
  return new AppError(
    "file_not_found",
    `Expected the name of a file, got "${name}"`,
  );
}
