/** Where things of the API are. */
import { checkFileName } from "../api/text-rules.ts";

export function filePath(name: string): string {
  return `/v1/files/${encodedName(name)}`;
}

export function folderPath(name: string): string {
  return `/v1/folders/${encodedName(name)}`;
}

/** Errors: `invalid_name`; in a URL, some names that no edge takes would be another place */
function encodedName(name: string): string {
  checkFileName(name);
  return encodeURIComponent(name);
}

export function uploadPath(name: string, upload: string): string {
  return `${filePath(name)}/uploads/${encodeURIComponent(upload)}`;
}

export function jobPath(job: string): string {
  return `/v1/jobs/${encodeURIComponent(job)}`;
}
