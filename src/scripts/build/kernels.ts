/** The kernels, compiled by asc as asconfig.json says. */
import { isAbsolute, join } from "node:path";
import { ROOT, type Read, type BuildTarget } from "./target.ts";

/** No literal in its import: its types would declare AssemblyScript's globals, such as another `console`. */
const COMPILER: string = "assemblyscript/asc";
type Compiler = {
  main(
    argv: string[],
    host: {
      readFile(path: string, folder: string): string | null;
      writeFile(path: string, contents: string | Uint8Array): void;
      listFiles(): string[];
      stderr: { write(text: string): void };
    },
  ): Promise<{ error: Error | null }>;
};

export function kernelTarget(
  name: string,
  entry: string,
  ascTarget: string,
): BuildTarget {
  return { name, make: (read) => compile(read, entry, ascTarget) };
}

async function compile(
  read: Read,
  entry: string,
  ascTarget: string,
): Promise<Map<string, Uint8Array>> {
  read("node_modules/assemblyscript/package.json");
  read("node_modules/binaryen/package.json");
  // The compiler takes a third of a second to load.
  const { default: asc } = (await import(COMPILER)) as { default: Compiler };
  const outputs = new Map<string, Uint8Array>();
  const argv = [entry, "--target", ascTarget, "--baseDir", ROOT];
  let complaints = "";
  const { error } = await asc.main(argv, {
    stderr: { write: (text) => void (complaints += text) },
    readFile: (path, folder) => {
      const bytes = read(isAbsolute(path) ? path : join(folder, path));
      return bytes ? Buffer.from(bytes).toString() : null;
    },
    writeFile: (path, contents) => {
      outputs.set(path, Buffer.from(contents));
    },
    listFiles: () => [],
  });
  if (error) {
    throw new Error(`${entry} does not compile:\n${complaints}`, {
      cause: error,
    });
  }
  return outputs;
}
