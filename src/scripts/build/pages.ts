/**
 * The pages' scripts and styles, by esbuild, each whole: a page loads its own and nothing else. The
 * kernels lie beside them: those of files, and all of them, the same bytes that the Worker imports.
 */
import { basename } from "node:path";
import { throughRead } from "./bundle.ts";
import { ROOT, type Read, type BuildTarget } from "./target.ts";

const FOLDER = "public/pages";
const KERNELS = ["kernels.wasm", "kernels-files.wasm"];
/** Pages, and the Workers that compute for them. */
const ENTRIES = [
  "src/pages/dashboard.ts",
  "src/pages/play.ts",
  "src/pages/play-worker.ts",
  "src/pages/join.ts",
  "src/pages/trainer-worker.ts",
  "src/pages/replay.ts",
  "src/pages/replay-worker.ts",
  "src/pages/style.css",
];

export function pagesTarget(...kernels: BuildTarget[]): BuildTarget {
  return { name: "pages", needs: kernels, make };
}

async function make(read: Read): Promise<Map<string, Uint8Array>> {
  read("node_modules/esbuild/package.json");
  read("src/pages/tsconfig.json");
  const { build } = await import("esbuild");
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES,
    outdir: FOLDER,
    write: false,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    legalComments: "inline",
    logLevel: "silent",
    plugins: [throughRead(read, () => undefined)],
  });
  return new Map([
    ...outputFiles.map(({ path, contents }): [string, Uint8Array] => [
      `${FOLDER}/${basename(path)}`,
      contents,
    ]),
    ...KERNELS.map((file): [string, Uint8Array] => [
      `${FOLDER}/${file}`,
      read(`build/${file}`)!,
    ]),
  ]);
}
