/**
 * What the tree promises about itself (docs/architecture.md): who may import whom, and what stays out
 * of which folder. Each rule is a function of the files, so that each is also seen to fail.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative, resolve, sep } from "node:path";
import { describe, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");

/** Left to right: a folder imports from itself and from what stands before it. */
const LAYERS = [
  "api",
  "memory",
  "kernels",
  "formats",
  "checkpoints",
  "model",
  "tokenizers",
  "generation",
  "training",
  "objects",
  "http",
];
const BELOW_OBJECTS = LAYERS.slice(0, LAYERS.indexOf("objects"));

/** Which folders of src each folder sees, itself apart. `worker.ts` sees all. */
const SEES: Record<string, readonly string[]> = {
  ...Object.fromEntries(LAYERS.map((layer, i) => [layer, LAYERS.slice(0, i)])),
  client: ["api"],
  hosted: [...BELOW_OBJECTS, "client"],
  local: [],
  cli: [...BELOW_OBJECTS, "client", "local"],
  scripts: [...BELOW_OBJECTS, "client", "local", "cli"],
  pages: [...BELOW_OBJECTS, "client", "library"],
  // The library: files and what they need, nothing of the objects.
  library: ["api", "kernels", "formats"],
  "index.ts": ["api", "kernels", "library"],
};

/**
 * The same inside of folders: rooms from the first to the last, `.` the files that stand in none. A room
 * that is not named has no place.
 */
const ROOMS: Record<string, readonly string[]> = {
  "src/formats": [
    ".", // dtypes and tensors
    "stream",
    "containers",
    "blocks",
    "roles",
    "folding",
    "operations",
  ],
  "src/objects": [
    "platform", // what every object is made with
    "directory",
    "shard",
    "job",
    "tokenization",
    "run",
  ],
  "src/pages": [
    "shell", // what all pages have around them
    "charts",
    "training", // kernels, and what computes on them in Workers
    "dashboard",
    "play",
    "replay",
    ".", // a file a page, and one a Worker
  ],
  assembly: [
    "random",
    "simd",
    "floats",
    "mx",
    "mxfp4",
    "mxfp8",
    "int6",
    "q8",
    "layers",
    "decode",
    ".", // what is exported
  ],
};

/** The interface that `client` satisfies; it may name it, not run it. */
const SERVICE = "src/training/service.ts";

/** Math whose results the language fixes to the last bit; of the rest, machines may differ. */
const EXACT_MATH = [
  "abs",
  "ceil",
  "clz32",
  "floor",
  "fround",
  "imul",
  "max",
  "min",
  "round",
  "sign",
  "sqrt",
  "trunc",
];
/** Where arithmetic ends up in bytes that must be the same everywhere. */
const REPRODUCIBLE = [
  "formats",
  "generation",
  "model",
  "objects",
  "tokenizers",
  "training",
];

type Files = ReadonlyMap<string, string>;
type Import = { from: string; to: string; typeOnly: boolean };

/** Sources by path from the root, with / between folders. What is installed there, as for the bench, is not ours. */
function readTree(...folders: string[]): Files {
  const files = new Map<string, string>();
  for (const folder of folders) {
    for (const entry of readdirSync(join(ROOT, folder), {
      recursive: true,
      withFileTypes: true,
    })) {
      if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
      const file = join(entry.parentPath, entry.name);
      const path = relative(ROOT, file).split(sep);
      if (path.includes("node_modules")) continue;
      files.set(path.join("/"), readFileSync(file, "utf8"));
    }
  }
  return files;
}

function withoutComments(source: string): string {
  return source.replace(/\/\*[^]*?\*\/|(?<=^|\s)\/\/.*$/gm, "");
}

/** Every import and re-export, relative ones resolved to a path from the root. */
function importsOf(files: Files): Import[] {
  const imports: Import[] = [];
  for (const [from, source] of files) {
    const found = withoutComments(source).matchAll(
      /^(?:import|export)\s+(?:(type)\s)?[^;"'=]*?["']([^"']+)["']|import\(\s*["']([^"']+)["']/gm,
    );
    for (const [, type, fixed, dynamic] of found) {
      const specifier = fixed ?? dynamic!;
      const to = specifier.startsWith(".")
        ? posix.join(dirname(from), specifier)
        : specifier;
      imports.push({ from, to, typeOnly: type !== undefined });
    }
  }
  return imports;
}

/** `model` of `src/model/gpt2/gpt.ts`; the file's own name at the top of src; undefined outside of src. */
function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)/.exec(path)?.[1];
}

function wrongDirections(files: Files): string[] {
  return importsOf(files).flatMap(({ from, to, typeOnly }) => {
    const [own, other] = [folderOf(from), folderOf(to)];
    const wrong = [`${from} imports ${to}`];
    if (from.startsWith("assembly/"))
      return to.startsWith("assembly/") ? [] : wrong;
    if (own === undefined || own === "worker.ts") return [];
    if (other === undefined) {
      // A package, or what the build made; never the tests or the assembly.
      return /^(test|assembly|bench)\//.test(to) ? wrong : [];
    }
    if (own === other) return [];
    const sees = SEES[own];
    if (!sees)
      return [`${from} stands in a folder without a place in the import order`];
    if (own === "client" && to === SERVICE && typeOnly) return [];
    return sees.includes(other) ? [] : wrong;
  });
}

/** `blocks` of `src/formats/blocks/mxfp4.ts` in `src/formats`; undefined outside of it. */
function roomOf(folder: string, path: string): string | undefined {
  if (!path.startsWith(`${folder}/`)) return undefined;
  const inside = path.slice(folder.length + 1);
  return inside.includes("/") ? inside.split("/")[0] : ".";
}

function wrongRooms(files: Files): string[] {
  return Object.entries(ROOMS).flatMap(([folder, rooms]) => {
    const unknown = [...files.keys()].filter((path) => {
      const room = roomOf(folder, path);
      return room !== undefined && !rooms.includes(room);
    });
    const backwards = importsOf(files).filter(({ from, to }) => {
      const [own, other] = [roomOf(folder, from), roomOf(folder, to)];
      if (own === undefined || other === undefined) return false;
      return rooms.indexOf(other) > rooms.indexOf(own);
    });
    return [
      ...unknown.map((path) => `${path} stands in a room without a place`),
      ...backwards.map(({ from, to }) => `${from} imports ${to}`),
    ];
  });
}

function cycles(files: Files): string[] {
  const next = new Map<string, string[]>();
  for (const { from, to } of importsOf(files)) {
    next.set(from, [...(next.get(from) ?? []), to]);
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: string[]) => {
    if (path.includes(file)) {
      found.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    if (done.has(file)) return;
    for (const to of next.get(file) ?? []) visit(to, [...path, file]);
    done.add(file);
  };
  for (const file of files.keys()) visit(file, []);
  return found;
}

function missingExtensions(files: Files): string[] {
  return importsOf(files)
    .filter(
      ({ from, to }) =>
        folderOf(from) && /^(src|build)\//.test(to) && !/\.(ts|wasm)$/.test(to),
    )
    .map(({ from, to }) => `${from} imports ${to} without .ts`);
}

function badNames(files: Files): string[] {
  return [...files.keys()].filter(
    (path) =>
      path.startsWith("src/") &&
      path !== "src/index.ts" && // the package's entry
      /\/index\.ts$|\/utils?(\/|\.ts$)|\/helpers?(\/|\.ts$)/.test(path),
  );
}

function foreignAssembly(files: Files): string[] {
  return [...files]
    .filter(
      ([path]) =>
        path !== "src/wasm.d.ts" &&
        folderOf(path) &&
        folderOf(path) !== "kernels",
    )
    .filter(([, source]) => /\bWebAssembly\b/.test(withoutComments(source)))
    .map(([path]) => `${path} mentions WebAssembly`);
}

/** An architecture's folder is known to itself and to the table of architectures. */
function foreignArchitectures(files: Files): string[] {
  return importsOf(files)
    .filter(
      ({ from, to }) =>
        from.startsWith("src/") &&
        from !== "src/model/architectures.ts" &&
        architectureIn(to) !== undefined &&
        architectureIn(from) !== architectureIn(to),
    )
    .map(({ from, to }) => `${from} imports ${to}`);
}

function architectureIn(path: string): string | undefined {
  return /^src\/model\/([^/]+)\//.exec(path)?.[1];
}

/**
 * Names that two files export. Of one kernel the compiled function and its wrapper have the same name, and the
 * modules of architectures mirror one another, as those of the benchmarks' peers do: in `MIRRORED` folders a name is one thing.
 */
function namedTwice(files: Files): string[] {
  const owners = new Map<string, Set<string>>();
  for (const [path, source] of files) {
    // What the host is given of the kernels, each module whole.
    if (/^assembly\/[^/]+$/.test(path)) continue;
    const tree = path.split("/")[0]!;
    const mirrored = MIRRORED.find((folder) => folder.test(path));
    for (const [, name] of withoutComments(source).matchAll(EXPORTED)) {
      const key = `${tree}: ${name}`;
      const all = owners.get(key) ?? new Set();
      owners.set(key, all.add(mirrored ? String(mirrored) : path));
    }
  }
  return [...owners]
    .filter(([, all]) => all.size > 1)
    .map(([key, all]) => `${key} of ${[...all].join(", ")}`);
}

const EXPORTED =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type|enum)\s+(\w+)/gm;
/** With the table that chooses among them. */
const MIRRORED = [
  /^src\/model\/([^/]+\/|architectures\.ts$)/,
  /^bench\/peers\//,
];

function inexactMath(files: Files): string[] {
  return [...files].flatMap(([path, source]) => {
    if (!REPRODUCIBLE.includes(folderOf(path) ?? "")) return [];
    return [...withoutComments(source).matchAll(/\bMath\s*\.\s*(\w+)/g)]
      .filter(
        ([, name]) => !EXACT_MATH.includes(name!) && !/^[A-Z]/.test(name!),
      )
      .map(([use]) => `${path} uses ${use}`);
  });
}

/** `import { z }` keeps all of zod, every language's messages too: a quarter of a megabyte more to start. */
function wholeZod(files: Files): string[] {
  return [...files]
    .filter(([, source]) =>
      /^import (?!(?:type )?\* as z )[^;]*?from "zod";/m.test(source),
    )
    .map(([path]) => `${path} imports zod other than as a namespace`);
}

function unpinned(manifest: Record<string, unknown>): string[] {
  return [
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
  ].flatMap((kind) =>
    Object.entries((manifest[kind] ?? {}) as Record<string, string>)
      .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
      .map(([name, version]) => `${kind}: ${name} ${version}`),
  );
}

describe("this tree", () => {
  const files = readTree("src", "assembly");

  test("has files in every folder that the order names first", () => {
    expect(files.size).toBeGreaterThan(30);
    expect(importsOf(files).length).toBeGreaterThan(100);
  });

  test.each([
    ["imports only along the order of its folders", wrongDirections],
    ["and inside of them along the order of their rooms", wrongRooms],
    ["has no import cycle", cycles],
    ["imports with .ts, as node needs it", missingExtensions],
    ["has no barrels and no utils", badNames],
    ["knows WebAssembly in src/kernels alone", foreignAssembly],
    [
      "knows architectures in src/model/architectures.ts alone",
      foreignArchitectures,
    ],
    ["uses exact Math where bytes must reproduce", inexactMath],
    ["imports of zod only what it uses", wholeZod],
  ])("%s", (_, rule) => {
    expect(rule(files)).toEqual([]);
  });

  test("exports no name twice", () => {
    const all = readTree("src", "assembly", "bench");
    expect(namedTwice(all)).toEqual([]);
  });

  test("pins every dependency exactly", () => {
    const manifest = JSON.parse(
      readFileSync(join(ROOT, "package.json"), "utf8"),
    );
    expect(unpinned(manifest)).toEqual([]);
  });
});

describe("docs/architecture.md", () => {
  const page = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
  const section = (name: string) =>
    page.split(`<!-- ${name} -->`)[1]!.split(`<!-- ${name} end -->`)[0]!;
  const named = (text: string) =>
    Array.from(text.matchAll(/`([^`]+)`/g), ([, name]) => name!);

  test("lists the folders in their order", () => {
    const lines = section("layers").match(/^- `[^`]+`/gm) ?? [];
    expect(lines.flatMap(named)).toEqual(LAYERS);
  });

  test("lists the rooms in theirs", () => {
    const rooms = section("rooms").split(/^- /m).slice(1).map(named);
    const order = Object.entries(ROOMS).map(([folder, names]) => [
      folder,
      ...names.filter((name) => name !== "."),
    ]);
    expect(rooms).toEqual(order);
  });
});

describe("each rule can fail:", () => {
  const tree = (files: Record<string, string>) =>
    new Map(Object.entries(files));

  test.each([
    ["src/api/run-config.ts", 'import { x } from "../kernels/arena.ts";'],
    ["src/kernels/a.ts", 'import type { X } from "../formats/x.ts";'],
    ["src/model/a.ts", 'export { x } from "../training/x.ts";'],
    ["src/training/a.ts", 'export * from "../objects/x.ts";'],
    ["src/objects/a.ts", 'import {\n  a,\n  type B,\n} from "../http/x.ts";'],
    ["src/http/a.ts", 'import "../client/x.ts";'],
    ["src/http/a.ts", 'const x = await import("../hosted/trainer-object.ts");'],
    ["src/client/a.ts", 'import { run } from "../training/service.ts";'],
    ["src/client/a.ts", 'import type { X } from "../training/trainer.ts";'],
    ["src/client/a.ts", 'import { x } from "../kernels/x.ts";'],
    ["src/cli/a.ts", 'import { x } from "../http/app.ts";'],
    ["src/cli/a.ts", 'import { x } from "../hosted/x.ts";'],
    ["src/hosted/a.ts", 'import { x } from "../objects/x.ts";'],
    ["src/hosted/a.ts", 'import { x } from "../cli/x.ts";'],
    ["src/pages/a.ts", 'import { x } from "../http/x.ts";'],
    ["src/local/a.ts", 'import { x } from "../client/x.ts";'],
    ["src/cli/a.ts", 'import { x } from "../scripts/x.ts";'],
    ["src/training/a.ts", 'import { x } from "../client/x.ts";'],
    ["src/training/a.ts", 'import { x } from "../../test/x.ts";'],
    ["src/elsewhere/a.ts", 'import { x } from "../api/run-config.ts";'],
    ["src/kernels/a.ts", 'import { x } from "../../assembly/index.ts";'],
    ["src/api/a.ts", 'import { x } from "../worker.ts";'],
    ["src/index.ts", 'import { x } from "./objects/x.ts";'],
    ["src/library/a.ts", 'import { x } from "../client/x.ts";'],
    ["src/index.ts", 'export { x } from "./client/x.ts";'],
    ["src/cli/a.ts", 'import { x } from "../index.ts";'],
    ["assembly/index.ts", 'import { x } from "../src/api/run-config";'],
  ])("order, %s: %s", (path, source) => {
    expect(wrongDirections(tree({ [path]: source }))).toHaveLength(1);
  });

  test.each([
    ["src/worker.ts", 'export { Trainer } from "./hosted/trainer-object.ts";'],
    [
      "src/client/a.ts",
      'import type { TrainingService } from "../training/service.ts";',
    ],
    ["src/hosted/a.ts", 'import { x } from "../client/x.ts";'],
    ["src/index.ts", 'import { x } from "./library/x.ts";'],
    ["src/library/a.ts", 'import { x } from "../formats/x.ts";'],
    ["src/http/a.ts", 'import { x } from "../objects/x.ts";'],
    ["src/http/a.ts", 'import { Hono } from "hono";'],
    [
      "src/http/a.ts",
      '// import { x } from "../hosted/x.ts";\n/* import "../cli/x.ts"; */',
    ],
    ["assembly/index.ts", 'export { x } from "./gemm";'],
  ])("but not, %s: %s", (path, source) => {
    expect(wrongDirections(tree({ [path]: source }))).toEqual([]);
  });

  test.each([
    ["src/formats/dtype.ts", 'import { x } from "./blocks/x.ts";'],
    ["src/formats/stream/a.ts", 'import { x } from "../containers/x.ts";'],
    ["src/formats/containers/a.ts", 'import type { X } from "../blocks/x.ts";'],
    ["src/formats/blocks/a.ts", 'export { x } from "../operations/x.ts";'],
    ["src/formats/layouts/a.ts", "export const x = 1;"],
    ["assembly/mx/a.ts", 'import { x } from "../mxfp8/x";'],
    ["assembly/mxfp4/a.ts", 'import { x } from "../mxfp8/x";'],
    ["assembly/floats/a.ts", 'import { x } from "../index";'],
  ])("rooms, %s: %s", (path, source) => {
    expect(wrongRooms(tree({ [path]: source }))).toHaveLength(1);
  });

  test.each([
    ["src/formats/operations/a.ts", 'import { x } from "../blocks/x.ts";'],
    ["src/formats/blocks/a.ts", 'import { x } from "../dtype.ts";'],
    ["src/formats/blocks/a.ts", 'import { x } from "./x.ts";'],
    ["assembly/index.ts", 'export { x } from "./mxfp8/x";'],
    ["src/model/a.ts", 'import { x } from "../formats/stream/x.ts";'],
  ])("but not rooms, %s: %s", (path, source) => {
    expect(wrongRooms(tree({ [path]: source }))).toEqual([]);
  });

  test("cycles, of two files and through a third", () => {
    const two = tree({
      "src/api/a.ts": 'import { b } from "./b.ts";',
      "src/api/b.ts": 'import type { A } from "./a.ts";',
    });
    expect(cycles(two)).toEqual(["src/api/a.ts → src/api/b.ts → src/api/a.ts"]);
    const three = tree({
      "src/api/0.ts": 'import { a } from "./a.ts";',
      "src/api/a.ts": 'import { b } from "./b.ts";',
      "src/api/b.ts": 'export * from "./c.ts";',
      "src/api/c.ts": 'import "./a.ts";',
    });
    expect(cycles(three)).toHaveLength(1);
  });

  test.each([
    [2, "src/objects/a.ts", "src/model/b.ts"],
    [2, "src/http/a.ts", "src/model/llama/b.ts"],
    [2, "assembly/mx/a.ts", "assembly/mxfp4/b.ts"],
    [1, "src/model/gpt2/a.ts", "src/model/llama/a.ts"],
    [1, "src/model/architectures.ts", "src/model/llama/a.ts"],
    [1, "bench/peers/a.ts", "bench/peers/b.ts"],
    [1, "src/kernels/a.ts", "assembly/mx/a.ts"],
    [1, "assembly/index.ts", "assembly/files.ts"],
  ])("a name of %d things: %s, %s", (things, first, second) => {
    for (const what of [
      "export type x = 1;",
      "export async function* x() {}",
      "export abstract class x {}",
      "export const x = 1;",
    ]) {
      const files = tree({ [first]: what, [second]: "export function x() {}" });
      expect(namedTwice(files), what).toHaveLength(things - 1);
    }
    const inside = tree({
      [first]: "const x = 1;",
      [second]: "export type x = 1;",
    });
    expect(namedTwice(inside)).toEqual([]);
  });

  test("extensions, names, WebAssembly, Math, versions", () => {
    for (const [file, foreign] of [
      ["src/training/a.ts", 1],
      ["src/model/decoder.ts", 1],
      ["src/model/architectures.ts", 0],
      ["src/model/gpt2/a.ts", 0],
    ] as const) {
      const from = file.includes("/gpt2/")
        ? "./gpt.ts"
        : "../model/gpt2/gpt.ts";
      const files = tree({ [file]: `import { GPT2 } from "${from}";` });
      expect(foreignArchitectures(files), file).toHaveLength(foreign);
    }
    expect(
      missingExtensions(tree({ "src/api/a.ts": 'import { b } from "./b";' })),
    ).toHaveLength(1);
    for (const names of ["{ z }", "z", "type { z }", "{\n  z,\n}"]) {
      const file = tree({ "src/api/a.ts": `import ${names} from "zod";` });
      expect(wholeZod(file), names).toHaveLength(1);
    }
    for (const names of ["* as z", "type * as z"]) {
      const file = tree({ "src/api/a.ts": `import ${names} from "zod";` });
      expect(wholeZod(file), names).toEqual([]);
    }
    const names = [
      "src/api/index.ts",
      "src/http/utils/x.ts",
      "src/http/utils.ts",
      "src/helpers/a.ts",
    ];
    expect(
      badNames(tree(Object.fromEntries(names.map((name) => [name, ""])))),
    ).toEqual(names);
    expect(
      foreignAssembly(tree({ "src/cli/a.ts": "new WebAssembly.Memory({})" })),
    ).toHaveLength(1);
    expect(
      foreignAssembly(tree({ "src/kernels/a.ts": "WebAssembly" })),
    ).toEqual([]);
    for (const name of [
      "exp",
      "log",
      "log2",
      "cos",
      "sin",
      "tanh",
      "pow",
      "random",
      "hypot",
    ]) {
      for (const folder of REPRODUCIBLE) {
        const file = tree({
          [`src/${folder}/a.ts`]: `const x = Math.${name}(1);`,
        });
        expect(inexactMath(file), `${folder} ${name}`).toHaveLength(1);
      }
    }
    expect(
      inexactMath(tree({ "src/model/a.ts": "Math.sqrt(2) // not Math.exp" })),
    ).toEqual([]);
    for (const version of [
      "^1.0.0",
      "~1.0.0",
      "1.0",
      "*",
      "latest",
      ">=1.0.0",
      "file:../x",
    ]) {
      expect(unpinned({ devDependencies: { x: version } })).toHaveLength(1);
    }
    expect(
      unpinned({ dependencies: { x: "1.2.3", y: "5.0.0-beta.2" } }),
    ).toEqual([]);
  });
});
