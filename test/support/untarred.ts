/** The files of a tar, by their names. */
export function untarred(tar: Uint8Array): Map<string, Uint8Array> {
  const text = (at: number, length: number) =>
    new TextDecoder()
      .decode(tar.subarray(at, at + length))
      .replace(/\0.*$/s, "");
  const files = new Map<string, Uint8Array>();
  for (let at = 0; tar[at] !== 0;) {
    const size = parseInt(text(at + 124, 12), 8);
    const name = `${text(at + 345, 155)}/${text(at, 100)}`;
    files.set(name, tar.slice(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
