/** Downloads a response as a file. The browser keeps a Blob's data, on disk if it is large. */
export async function save(response: Response, name: string): Promise<number> {
  const blob = await response.blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The download has started by then; revoking at once would break it in some browsers.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return blob.size;
}
