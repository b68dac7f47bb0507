/** README, docs/ and comments name commands, options and files that there are. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { type CommandName, commandOf, load } from "../../src/cli/commands.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...globSync("docs/**/*.md", { cwd: ROOT }),
];
const SOURCES = globSync("{src,assembly,bench,test}/**/*.ts", {
  cwd: ROOT,
  exclude: ["**/node_modules"],
});
/** Scripts that are commands of the package by another name, and the options that they all have. */
const AS_COMMANDS: Record<string, CommandName> = {
  ablation: "ablation",
  sample: "generate",
  start: "serve",
  train: "train",
};
const OF_ALL = ["help", "version"];

const { scripts } = JSON.parse(
  readFileSync(join(ROOT, "package.json"), "utf8"),
) as { scripts: Record<string, string> };

/** What a reader would paste: the lines of `sh` blocks, without what stands behind #; and what text has in `…`. */
function pasted(page: string): string[] {
  const blocks = page.matchAll(/^```sh\n([^]*?)^```$/gm);
  const lines = [...blocks].flatMap(([, block]) =>
    block!
      .replaceAll("\\\n", " ")
      .split("\n")
      .map((line) => line.replace(/\s#.*$/, "").trim()),
  );
  const text = page.replaceAll(/^```[^]*?^```$/gm, "");
  const named = [...text.matchAll(/`([^`]+)`/g)].map(([, code]) =>
    code!.replaceAll(/\s+/g, " "),
  );
  return [...lines, ...named];
}

/** What is wrong with a line, if it calls a script or the command. */
async function faultOf(line: string): Promise<string | undefined> {
  const script = /^npm run ([\w-]+)(?: -- (.*))?$/.exec(line);
  if (script && !(script[1]! in scripts)) return `no script ${script[1]}`;
  const typed =
    script?.[1] === "mxfp4-edge"
      ? script[2]!
      : /^(?:npx )?mxfp4-edge (.*)$/.exec(line)?.[1];
  const own = script && AS_COMMANDS[script[1]!];
  const words = (own ? `${own} ${script[2] ?? ""}` : typed)?.split(/\s+/);
  if (!words || /^(--|completion$|…$)/.test(words[0]!)) return undefined;
  const command = commandOf(words);
  if (!command) return `no command ${words[0]}`;
  const { args } = await load(command.name);
  const known = [...Object.keys(args), ...OF_ALL];
  return command.rawArgs
    .flatMap((word) => /^--([\w-]+)/.exec(word)?.[1] ?? [])
    .filter((name) => !known.includes(name))
    .map((name) => `${command.name} has no --${name}`)[0];
}

/** All files that a page or a comment may name, by their paths with / in front. */
const FILES = [...PAGES, "test/fixtures/README.md", ...SOURCES].map(
  (path) => `/${path.replaceAll("\\", "/")}`,
);

/**
 * Names in a text of sources and pages that there are not: a whole path, or its end, in which * stands for any
 * letters. What is built is not there yet, and what begins with . is a link.
 */
function unknownFiles(text: string): string[] {
  const named = text.matchAll(
    /(?<![\w./:@*-])((?:[\w.*-]+\/)*[\w.*-]+\.(?:ts|md))(?![\w/])/g,
  );
  return [...named]
    .map(([, name]) => name!)
    .filter((name) => !/^(build|\.)/.test(name) && !FILES.some(endsIn(name)));
}

function endsIn(name: string): (file: string) => boolean {
  const literal = `/${name}`.replace(/[.]/g, "\\.").replaceAll("*", "[^/]*");
  const pattern = new RegExp(`${literal}$`);
  return (file) => pattern.test(file);
}

test("files that there are not are seen", () => {
  const text =
    "`x.ts`, `linear.ts` and linear-*.ts; (src/api/gone.ts, api/frame.ts), `api/*-frame.ts`, ./a.md, build/kernels.d.ts, PAPER.md";
  expect(unknownFiles(text)).toEqual([
    "x.ts",
    "src/api/gone.ts",
    "api/*-frame.ts",
    "PAPER.md",
  ]);
});

test("comments name files that there are", () => {
  const own = import.meta.filename;
  const unknown = SOURCES.filter((path) => join(ROOT, path) !== own).flatMap(
    (path) => {
      const source = readFileSync(join(ROOT, path), "utf8");
      const comments =
        source.match(/\/\*\*[^]*?\*\/|(?<=^\s*)\/\/ .*$/gm) ?? [];
      return unknownFiles(comments.join("\n")).map(
        (name) => `${path}: ${name}`,
      );
    },
  );
  expect(unknown).toEqual([]);
});

test("what is wrong is seen", async () => {
  const lines = {
    "npm run trian": "no script trian",
    "npm run train -- --presets nano": "train has no --presets",
    "npm run mxfp4-edge -- quantise x": "no command quantise",
    "mxfp4-edge runs export RUN --fromat csv": "runs export has no --fromat",
    "mxfp4-edge runs export RUN --format csv": undefined,
  };
  expect(pasted("as `npm run\ntrian` does")).toEqual(["npm run trian"]);
  for (const [line, fault] of Object.entries(lines))
    expect(await faultOf(line), line).toBe(fault);
});

describe.each(PAGES)("%s", (path) => {
  const page = readFileSync(join(ROOT, path), "utf8");

  test("names commands and options that there are, and files", async () => {
    const faults: string[] = [];
    for (const line of pasted(page)) {
      const fault = await faultOf(line);
      if (fault !== undefined) faults.push(`${line}: ${fault}`);
    }
    const links = [...page.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)];
    const missing = links
      .map(([, link]) => link!)
      .filter((link) => !existsSync(join(ROOT, dirname(path), link)));
    expect([...faults, ...missing, ...unknownFiles(page)]).toEqual([]);
  });
});
