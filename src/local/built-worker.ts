/**
 * The settings for Miniflare of a built Worker with its wrangler.toml. Wrangler can produce them too, but takes more
 * than a second to load; a test compares both. Unknown keys are refused.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parse } from "smol-toml";

/** The keys of wrangler.toml that are used. */
type WranglerToml = {
  name: string;
  main: string;
  compatibility_date: string;
  compatibility_flags?: string[];
  vars?: Record<string, string>;
  durable_objects?: { bindings: { name: string; class_name: string }[] };
  migrations?: { tag: string; new_sqlite_classes: string[] }[];
  r2_buckets?: { binding: string; bucket_name: string }[];
  services?: { binding: string; service: string }[];
  assets?: { directory: string };
};

/** Keys for bundling and deployment only. */
const ELSEWHERE = [
  "$schema",
  "build",
  "keep_names",
  "limits",
  "minify",
  "observability",
  "send_metrics",
  "upload_source_maps",
];

export type WorkerSettings = {
  name: string;
  /** The first is the entry. Listed, so that Miniflare need not parse the script's imports. */
  modules: { type: "ESModule" | "CompiledWasm"; path: string }[];
  modulesRoot: string;
  compatibilityDate: string;
  compatibilityFlags: string[];
  bindings: Record<string, string>;
  durableObjects: Record<string, { className: string; useSQLite: boolean }>;
  r2Buckets: Record<string, { id: string }>;
  serviceBindings: Record<string, { name: string }>;
  assets?: object;
};

/** `config`: the Worker's wrangler.toml; `folder`: where `npm run build` put its modules. */
export function builtWorker(config: string, folder: string): WorkerSettings {
  const {
    name,
    main,
    compatibility_date,
    compatibility_flags = [],
    vars = {},
    durable_objects,
    migrations = [],
    r2_buckets = [],
    services = [],
    assets,
    ...rest
  } = parse(readFileSync(config, "utf8")) as unknown as WranglerToml;
  const unknown = Object.keys(rest).filter((key) => !ELSEWHERE.includes(key));
  if (unknown.length > 0) {
    throw new Error(
      `Expected keys of ${config} that the local edge knows, got ${unknown.join(", ")}`,
    );
  }
  const inSqlite = migrations.flatMap((each) => each.new_sqlite_classes);
  const by = <T, V>(all: readonly T[], entry: (each: T) => [string, V]) =>
    Object.fromEntries(all.map(entry));
  const scriptPath = join(folder, basename(main).replace(/\.ts$/, ".js"));
  if (!existsSync(scriptPath)) {
    throw new Error(
      `Expected the Worker in ${folder}: run \`npm run build\` first`,
    );
  }
  return {
    name,
    modules: [
      { type: "ESModule", path: scriptPath },
      ...wasmIn(folder).map(
        (path) => ({ type: "CompiledWasm", path }) as const,
      ),
    ],
    modulesRoot: folder,
    compatibilityDate: compatibility_date,
    compatibilityFlags: compatibility_flags,
    bindings: vars,
    durableObjects: by(durable_objects?.bindings ?? [], (each) => [
      each.name,
      {
        className: each.class_name,
        useSQLite: inSqlite.includes(each.class_name),
      },
    ]),
    r2Buckets: by(r2_buckets, (each) => [
      each.binding,
      { id: each.bucket_name },
    ]),
    serviceBindings: by(services, (each) => [
      each.binding,
      { name: each.service },
    ]),
    ...(assets && {
      assets: {
        directory: resolve(dirname(config), assets.directory),
        routerConfig: { has_user_worker: true },
        assetConfig: { compatibility_date, compatibility_flags },
      },
    }),
  };
}

/** What the script imports: the kernels. */
function wasmIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".wasm"))
    .map((file) => join(folder, file));
}
