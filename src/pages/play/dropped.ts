/** Dropped or selected files: one, several, or those of one directory, without subdirectories. */

const NEITHER = "Expected a file or a directory of files, got neither";

/** From an input, which for a directory includes files of subdirectories. Errors: none, e.g. an empty directory */
export function pickedFiles(list: FileList | null): Map<string, File> {
  const own = Array.from(list ?? []).filter(
    ({ webkitRelativePath: path }) => path.split("/").length <= 2,
  );
  if (own.length === 0) throw new Error(NEITHER);
  return new Map(own.map((file) => [file.name, file]));
}

/** Errors: no files, or a directory among other items */
export async function droppedFiles({
  items,
}: DataTransfer): Promise<Map<string, File>> {
  // Items are invalid after the first await; items that are not from the file system have no entry.
  const dropped = Array.from(items, (item) => ({
    entry: item.webkitGetAsEntry(),
    file: item.getAsFile(),
  }));
  if (dropped.length > 1 && dropped.some(({ entry }) => entry?.isDirectory))
    throw new Error(
      `Expected files, or one directory alone, got a directory among ${dropped.length} things`,
    );
  const found = new Map<string, File>();
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) {
      const inside = await entriesIn(entry as FileSystemDirectoryEntry);
      for (const each of inside)
        if (each.isFile)
          found.set(each.name, await fileOf(each as FileSystemFileEntry));
    } else if (file) {
      found.set(file.name, file);
    }
  }
  if (found.size === 0) throw new Error(NEITHER);
  return found;
}

async function entriesIn(
  folder: FileSystemDirectoryEntry,
): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  // Returns up to a hundred at a time, and none at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
