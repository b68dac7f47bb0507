/** URL paths of the API. */
import { checkFileName } from "../api/text-rules.ts";

export function filePath(name: string): string {
  return `/v1/files/${encodedName(name)}`;
}

export function folderPath(name: string): string {
  return `/v1/folders/${encodedName(name)}`;
}

/** Errors: `invalid_name`, since some invalid names would be other paths in a URL */
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

export function datasetPath(name: string): string {
  return `/v1/datasets/${encodeURIComponent(name)}`;
}

export function runPath(run: string): string {
  return `/v1/runs/${encodeURIComponent(run)}`;
}

/** The defined values as a query string; empty if there are none. */
export function queryOf(values: object): string {
  const told = Object.entries(values).filter(
    ([, value]) => value !== undefined,
  );
  const query = new URLSearchParams(
    told.map(([name, value]) => [name, String(value)]),
  );
  return query.size > 0 ? `?${query.toString()}` : "";
}
