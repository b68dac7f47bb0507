/** What was dropped or picked: a file, several, or all of one directory, but not what lies in folders of it. */

const NEITHER = "Expected a file or a directory of files, got neither";

/** Of an input, which for a directory has the files of its folders too. Errors: none, of an empty directory */
export function pickedFiles(list: FileList | null): Map<string, File> {
  const own = Array.from(list ?? []).filter(
    ({ webkitRelativePath: path }) => path.split("/").length <= 2,
  );
  if (own.length === 0) throw new Error(NEITHER);
  return new Map(own.map((file) => [file.name, file]));
}

/** Errors: neither, or a directory that is not alone */
export async function droppedFiles({
  items,
}: DataTransfer): Promise<Map<string, File>> {
  // Both are gone after the first wait; what was not dropped from a folder has no entry.
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
  // It gives a hundred at a time, and none at the end.
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
