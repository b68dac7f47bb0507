/** A page's `sh` blocks as a stranger pastes them, line by line, in a clone that is built. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { cleanClone } from "./clone.ts";

const ROOT = resolve(import.meta.dirname, "../..");
/** For what hangs. */
const PATIENCE_MS = 120_000;

export type Block = { language: string; lines: string[]; shown: string };
export type Pasted = {
  line: string;
  status: number | null;
  stdout: string;
  stderr: string;
};

/** The blocks of a page, each with the plain one behind it, which shows what it prints; a line that goes on is one. */
export function blocksOf(page: string): Block[] {
  const source = readFileSync(join(ROOT, page), "utf8");
  const blocks = [...source.matchAll(/^```(\w*)\n([^]*?)^```$/gm)];
  return blocks.flatMap(([, language, code], i) => {
    if (language === "") return [];
    const [, next, shown] = blocks[i + 1] ?? [];
    const lines = code!.trim().split(/(?<!\\)\n/);
    return [
      { language: language!, lines, shown: next === "" ? shown!.trim() : "" },
    ];
  });
}

/** A clone with what `npm run build` makes, where the command is installed, and curl ends with 22 on a refusal. */
export class Clone {
  readonly folder = cleanClone();

  constructor() {
    for (const made of ["build", "public/docs"])
      cpSync(join(ROOT, made), join(this.folder, made), {
        recursive: true,
        filter: (path) => path !== join(ROOT, "build/tmp"),
      });
    for (const made of [".home", ".bin"]) mkdirSync(this.at(made));
    const script = this.at("src/scripts/mxfp4-edge.ts");
    this.#program("mxfp4-edge", `"${process.execPath}" "${script}"`);
    const curl = execFileSync("sh", ["-c", "command -v curl"], {
      encoding: "utf8",
    }).trim();
    this.#program("curl", `"${curl}" --fail-with-body -sS`);
  }

  at(path: string): string {
    return join(this.folder, path);
  }

  /** `line` in a shell of its own, with what is typed. */
  async paste(
    line: string,
    variables: NodeJS.ProcessEnv,
    typed: string,
  ): Promise<Pasted> {
    const { npm_lifecycle_script: _, ...env } = process.env;
    const child = spawn("bash", ["-o", "pipefail", "-ec", line], {
      cwd: this.folder,
      env: {
        ...env,
        ...variables,
        PATH: `${this.at(".bin")}:${env.PATH}`,
        HOME: this.at(".home"),
        NO_COLOR: "1",
      },
      timeout: PATIENCE_MS,
    });
    // Most lines read nothing of it, and may have ended before it is written.
    child.stdin.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (code !== "EPIPE") child.kill();
    });
    child.stdin.end(typed);
    const [stdout, stderr] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      child.exitCode ?? once(child, "close"),
    ]);
    return { line, status: child.exitCode, stdout, stderr };
  }

  /** What `line` names as its output and is not there. */
  missing(line: string): string[] {
    const named = line.matchAll(/ (?:-o|-fo|>) (\S+)/g);
    return [...named]
      .map(([, path]) => path!)
      .filter((path) => !existsSync(this.at(path)));
  }

  #program(name: string, calls: string): void {
    const file = this.at(`.bin/${name}`);
    writeFileSync(file, `#!/bin/bash\nexec ${calls} "$@"\n`);
    chmodSync(file, 0o755);
  }
}
