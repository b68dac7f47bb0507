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

export function datasetPath(name: string): string {
  return `/v1/datasets/${encodeURIComponent(name)}`;
}

export function runPath(run: string): string {
  return `/v1/runs/${encodeURIComponent(run)}`;
}

/** What is told of some values, as a query; empty without any. */
export function queryOf(values: object): string {
  const told = Object.entries(values).filter(
    ([, value]) => value !== undefined,
  );
  const query = new URLSearchParams(
    told.map(([name, value]) => [name, String(value)]),
  );
  return query.size > 0 ? `?${query.toString()}` : "";
}
