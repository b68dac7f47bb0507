/** A multipart upload in progress: its parts, and how they are completed to a file. */
import type { Context } from "hono";
import { AppError } from "../../api/errors.ts";
import { directoryStub } from "../../objects/directory/directory.ts";
import type {
  StoredPart,
  StoredUpload,
} from "../../objects/directory/file-uploads.ts";
import { isNoSuchUpload } from "../../objects/directory/unfinished-uploads.ts";
import type { AppEnv } from "../env.ts";

/** R2's error code if the given parts are not the stored ones. */
const OTHER_PARTS = "(10025)";

export type FoundUpload = StoredUpload & { parts: StoredPart[] };

export function findUpload(
  c: Context<AppEnv>,
  file: string,
  upload: string,
): Promise<FoundUpload | null> {
  return directoryStub(c.env).findFileUpload(file, upload);
}

/** Errors: `upload_not_found` */
export async function uploadOf(
  c: Context<AppEnv>,
  file: string,
  id: string,
): Promise<FoundUpload> {
  const upload = await findUpload(c, file, id);
  if (!upload) throw uploadNotFound(file, id);
  return upload;
}

/** Errors: `invalid_number` for a part that the upload does not have */
export function partLength(
  { bytes, partBytes }: StoredUpload,
  part: number,
): number {
  const count = Math.ceil(bytes / partBytes);
  if (part >= 1 && part <= count)
    return Math.min(partBytes, bytes - (part - 1) * partBytes);
  throw new AppError(
    "invalid_number",
    `Expected \`part\` to be from 1 to ${count}, got ${part}`,
  );
}

/**
 * Errors: `parts_missing` with all parts if R2's parts differ from the recorded ones: one was uploaded twice
 * concurrently
 */
export async function putTogether(
  c: Context<AppEnv>,
  { uploadId, parts, mark }: FoundUpload,
  key: string,
  count: number,
): Promise<void> {
  const upload = c.env.BUCKET.resumeMultipartUpload(key, uploadId);
  try {
    await upload.complete(
      parts.map(({ part: partNumber, etag }) => ({ partNumber, etag })),
    );
  } catch (error) {
    if (String(error).includes(OTHER_PARTS)) {
      await directoryStub(c.env).forgetFileParts(uploadId);
      const all = Array.from({ length: count }, (_, i) => i + 1);
      throw partsMissing(count, all);
    }
    // The file may have been completed before a crash.
    const present = isNoSuchUpload(error) ? await c.env.BUCKET.head(key) : null;
    if (present?.customMetadata?.mark !== mark) throw error;
  }
}

export function uploadNotFound(file: string, upload: string): AppError {
  return new AppError(
    "upload_not_found",
    `Expected an unfinished upload of "${file}", got "${upload}"`,
  );
}

export function partsMissing(
  count: number,
  missing: readonly number[],
): AppError {
  const some = missing.slice(0, 20).join(", ");
  const more = missing.length > 20 ? ` and ${missing.length - 20} more` : "";
  return new AppError(
    "parts_missing",
    `Expected parts 1 to ${count}, but these are missing: ${some}${more}`,
  );
}
