/**
 * A Worker and what it imports as one module, by esbuild, as wrangler would bundle it for deployment:
 * workerd's own modules stay outside, and a `.wasm` file is a module beside it, which the runtime compiles.
 */
import { basename, dirname, extname, join, resolve } from "node:path";
import type { Loader, OutputFile, Plugin } from "esbuild";
import { parse } from "smol-toml";
import { ROOT, type Read, type BuildTarget } from "./target.ts";

export type Bundle = {
  name: string;
  /** The wrangler.toml that names the entry, and says how small it is made; from the root. */
  config: string;
  /** Where the module goes, named as the entry is; from the root. */
  folder: string;
  needs: readonly BuildTarget[];
};

const LOADERS: Record<string, Loader> = {
  ".ts": "ts",
  ".js": "js",
  ".mjs": "js",
  ".cjs": "js",
  ".json": "json",
  ".css": "css",
};

export function bundleTarget(bundle: Bundle): BuildTarget {
  const { name, needs } = bundle;
  return { name, needs, make: (read) => makeBundle(read, bundle) };
}

async function makeBundle(
  read: Read,
  { config, folder }: Bundle,
): Promise<Map<string, Uint8Array>> {
  read("node_modules/esbuild/package.json");
  read("tsconfig.json");
  const {
    main,
    minify = false,
    keep_names: keepNames = true,
  } = parse(Buffer.from(read(config) ?? []).toString()) as {
    main: string;
    minify?: boolean;
    keep_names?: boolean;
  };
  const { build, formatMessages } = await import("esbuild");
  const outputs = new Map<string, Uint8Array>();
  const wasm = (path: string, bytes: Uint8Array) =>
    outputs.set(`${folder}/${basename(path)}`, bytes);
  const { outputFiles, warnings } = await build({
    absWorkingDir: ROOT,
    entryPoints: [resolve(ROOT, dirname(config), main)],
    outdir: folder,
    write: false,
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    minify,
    keepNames,
    sourcemap: "linked",
    logLevel: "silent", // an error says what it is
    plugins: [throughRead(read, wasm)],
  });
  for (const line of await formatMessages(warnings, { kind: "warning" }))
    console.error(line);
  for (const { path, contents } of outputFiles as OutputFile[]) {
    outputs.set(`${folder}/${basename(path)}`, contents);
  }
  return outputs;
}

/** Lets esbuild see files through `read` alone, and hands over the `.wasm` files that are imported. */
export function throughRead(
  read: Read,
  wasm: (path: string, bytes: Uint8Array) => void,
): Plugin {
  return {
    name: "through-read",
    setup(bundler) {
      bundler.onResolve({ filter: /\.wasm$/ }, ({ path, resolveDir }) => {
        const file = join(resolveDir, path);
        const bytes = read(file);
        if (!bytes) return { errors: [{ text: `Expected ${file} to exist` }] };
        wasm(file, bytes);
        return { path: `./${basename(file)}`, external: true };
      });
      bundler.onLoad({ filter: /./ }, ({ path }) => {
        const loader = LOADERS[extname(path)];
        if (!loader) return undefined; // esbuild says that it cannot load it
        const manifest = manifestOf(path);
        if (manifest) read(manifest);
        return { contents: read(path), loader };
      });
    },
  };
}

/** The package.json that decides which file of a package is meant. */
function manifestOf(path: string): string | undefined {
  const inPackage = /^.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+/;
  const [folder] = inPackage.exec(path) ?? [];
  return folder && join(folder, "package.json");
}
