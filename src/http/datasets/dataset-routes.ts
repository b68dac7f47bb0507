import { Hono } from "hono";
import { AppError } from "../../api/errors.ts";
import type { Dataset } from "../../api/types.ts";
import {
  directoryStub,
  type StoredDataset,
} from "../../objects/directory/directory.ts";
import { LEASE_MS } from "../../objects/directory/loose-keys.ts";
import { type ByteRange, readRange } from "../files/byte-range.ts";
import type { AppEnv } from "../env.ts";
import { withHeartbeat } from "../heartbeat.ts";
import { datasetName } from "../path.ts";
import { storeUpload, uploadBytes } from "../files/upload.ts";

/** One byte, one token. */
const BYTE_VOCABULARY = 256;
const MAX_DATASET_BYTES = 100 * 1024 * 1024;

export const datasetRoutes = new Hono<AppEnv>()

  /**
   * Store a corpus under a name: its bytes are its tokens. Repeating it changes nothing.
   *
   * Path:   name   letters, digits, `.`, `_`, `-`; at most 64
   * Body:   the text, 1 byte to 100 MiB, with Content-Length
   * 201:    a Dataset: { name, digest, tokens, tokenizer, vocabulary };  200: it was there before
   * Errors: 400 malformed_body (the body is empty, or ended early), 409 dataset_differs (choose another name),
   *         411 length_required, 413 body_too_large, 422 invalid_name, 503 unavailable
   */
  .put("/v1/datasets/:name", async (c) => {
    const name = datasetName(c.req.param("name"));
    const bytes = uploadBytes(c, "corpus", MAX_DATASET_BYTES);
    if (bytes === 0) {
      throw new AppError(
        "malformed_body",
        "Expected a corpus of at least 1 byte, got none",
      );
    }
    // A new stub each time: one whose object restarted meanwhile is of no more use.
    const directory = () => directoryStub(c.env);
    const present = await directory().findDataset(name);
    if (present && present.tokens !== bytes) {
      throw new AppError(
        "dataset_differs",
        `Expected the ${present.tokens} bytes that "${name}" already has, got ${bytes}`,
      );
    }
    // The digest is known when all is stored, so each upload has a key of its own until then.
    const key = `datasets/${name}/${crypto.randomUUID()}`;
    await directory().beginUpload(key);
    const digest = await withHeartbeat(
      LEASE_MS / 5,
      () => directory().renewUpload(key),
      () => storeUpload(c.env.BUCKET, key, c.req.raw.body, bytes),
    );
    const { created, dataset } = await directory().addDataset({
      name,
      digest,
      tokens: bytes,
      tokenizer: "byte",
      vocabulary: BYTE_VOCABULARY,
      key,
    });
    return c.json(toDataset(dataset), created ? 201 : 200);
  })

  /**
   * What a corpus is.
   *
   * 200:    a Dataset
   * Errors: 404 dataset_not_found, 422 invalid_name
   */
  .get("/v1/datasets/:name", async (c) => {
    const name = datasetName(c.req.param("name"));
    return c.json(toDataset(await directoryStub(c.env).dataset(name)));
  })

  /**
   * Remove a corpus. Not safe to repeat: the second time it is not there.
   *
   * 204:    gone
   * Errors: 404 dataset_not_found, 409 dataset_in_use (a run that has not ended pins it), 422 invalid_name
   */
  .delete("/v1/datasets/:name", async (c) => {
    const name = datasetName(c.req.param("name"));
    await directoryStub(c.env).removeDataset(name);
    return c.body(null, 204);
  })

  /**
   * Token ids of a corpus, one byte each.
   *
   * Header: Range   one range of bytes, as in `bytes=0-4095`, `bytes=4096-`, `bytes=-512`
   * 206:    that range, with Content-Range;  200: all, when there is no Range. ETag is the digest
   * Errors: 404 dataset_not_found, 416 range_not_satisfiable, 422 invalid_name
   */
  .get("/v1/datasets/:name/tokens", async (c) => {
    const name = datasetName(c.req.param("name"));
    const { key, tokens, digest } = await directoryStub(c.env).dataset(name);
    const header = c.req.header("Range");
    const range: ByteRange | undefined =
      header === undefined ? undefined : readRange(header, tokens);
    const object = await c.env.BUCKET.get(key, range && { range });
    if (!object) {
      throw new AppError(
        "dataset_not_found",
        `Expected the tokens of "${name}", which are no longer there`,
      );
    }
    const { offset, length } = range ?? { offset: 0, length: tokens };
    const headers: Record<string, string> = {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(length),
      "Accept-Ranges": "bytes",
      ETag: `"${digest}"`,
    };
    if (range) {
      headers["Content-Range"] =
        `bytes ${offset}-${offset + length - 1}/${tokens}`;
    }
    return c.body(object.body, range ? 206 : 200, headers);
  });

/** Without the storage's key. */
function toDataset({ key: _key, ...dataset }: StoredDataset): Dataset {
  return dataset;
}
