/** Give the reader a file. The browser keeps what comes of a response, on disk where it is large. */
export async function save(response: Response, name: string): Promise<number> {
  const blob = await response.blob();
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The download has begun by then; at once, some browsers would lose it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return blob.size;
}
