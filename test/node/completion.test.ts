/** What shells offer for a line that is being typed, by the scripts that the command writes for them. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadAll } from "../../src/cli/commands.ts";
import { completion, SHELLS } from "../../src/cli/completion.ts";

const ALL = await loadAll();
const FIRST_WORDS = [
  ...ALL.map(({ name }) => name).filter((name) => !name.includes(" ")),
  "completion",
];
const PRESETS = ["nano", "tiny", "small", "medium"];

/** Lines, the last word being typed, and what is offered for it. */
const OFFERED: [line: string, expected: readonly string[]][] = [
  ["qu", ["quantize"]],
  ["", FIRST_WORDS],
  ["train --pre", ["--preset"]],
  ["train --preset ", PRESETS],
  ["train --preset=na", ["nano"]],
  ["train --preset=", PRESETS],
  ["train --hel", ["--help"]],
  ["quantize mod", ["model.safetensors"]],
  ["quantize x --for vl", ["vllm"]],
  ["runs ex", ["export"]],
  ["runs export a-run --for", ["--format", "--force"]],
  ["runs --for", []],
  ["completion ", SHELLS],
];

/** Puts out, for each line, `offered:` and a word for each that is, then `END`. */
const ASKS: Record<string, (script: string, lines: string[]) => string[]> = {
  // As readline cuts a line, an equals sign is a word.
  bash: (script, lines) => [
    "bash",
    "-c",
    `source "$0"
     for line in "$@"; do
       read -ra COMP_WORDS <<< "\${line//=/ = }"
       case $line in *[\\ =]) [[ $line = *= ]] || COMP_WORDS+=("") ;; esac
       COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); COMPREPLY=()
       _mxfp4_edge; printf 'offered:%s\\n' "\${COMPREPLY[@]}"; echo END
     done`,
    script,
    ...lines,
  ],
  zsh: (script, lines) => [
    "zsh",
    "-f",
    "-c",
    `zmodload zsh/zpty
     zpty inner zsh -f -i
     zpty -w inner "source $0.terminal $0"
     zpty -r inner out '*READY*'
     for line in "$@"; do
       zpty -w -n inner "$line"$'\\t'
       zpty -r inner out '*END*'
       print -r -- "$out"
       zpty -w -n inner $'\\25'
     done
     zpty -d inner`,
    script,
    ...lines,
  ],
  fish: (script, lines) => [
    "fish",
    "--no-config",
    "-c",
    'source $argv[1]; for line in $argv[2..]; complete -C $line | string replace -r "([^\\t]*).*" "offered:\\$1"; echo END; end',
    script,
    ...lines,
  ],
};

/** Of zsh in a terminal: Tab asks the real completion, and what it would add is written instead. */
const ZSH_TERMINAL = `
autoload -U compinit; compinit -D -u; source $1
compadd() {
  if [[ \${@[1,(i)(-|--)]} == *-[OAD]* ]]; then builtin compadd "$@"; return; fi
  local -a words
  builtin compadd -A words "$@"
  print -rl -- "offered:"$^words
}
offer() { _main_complete; print END; compstate[insert]= compstate[list]= }
zle -C offer complete-word offer
bindkey "^I" offer
bindkey "^U" kill-whole-line
print READY
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-completion-test-"));
  mkdirSync(join(folder, "home"));
  writeFileSync(join(folder, "model.safetensors"), "");
  writeFileSync(join(folder, "mxfp4-edge.zsh.terminal"), ZSH_TERMINAL);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Sorted, since each shell sorts by itself; a value without the option that stands before it in its word. */
function offered(shell: string, lines: readonly string[]): string[][] {
  const script = join(folder, `mxfp4-edge.${shell}`);
  writeFileSync(script, completion("mxfp4-edge", ALL, [shell]));
  const typed = lines.map((line) => `mxfp4-edge ${line}`);
  const [program, ...args] = ASKS[shell]!(script, typed);
  const { stdout, stderr } = spawnSync(program!, args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, HOME: join(folder, "home"), TERM: "xterm" },
    timeout: 60_000,
  });
  expect(stderr).toBe("");
  const told = stdout.split("END").slice(0, -1);
  return told.map((part) =>
    [...part.matchAll(/offered:(?:--\w+=)?(\S+)/g)]
      .map(([, word]) => word!)
      .toSorted(),
  );
}

const isThere = (shell: string): boolean =>
  spawnSync(shell, ["--version"]).status === 0;

for (const shell of SHELLS)
  test.skipIf(!isThere(shell))(
    `${shell} completes commands, options, values and files`,
    () => {
      const lines = OFFERED.map(([line]) => line);
      const words = offered(shell, lines);
      expect(lines.map((line, index) => [line, words[index]])).toEqual(
        OFFERED.map(([line, expected]) => [line, expected.toSorted()]),
      );
    },
  );

test.each(SHELLS)("%s's script has each command, option and value", (shell) => {
  const script = completion("mxfp4-edge", ALL, [shell]);
  const bare = shell === "fish" ? "-l " : "--";
  for (const { args } of ALL)
    for (const [option, definition] of Object.entries(args)) {
      if (definition.type === "positional") continue;
      expect(script).toContain(`${bare}${option}`);
      if (definition.type === "enum")
        expect(script).toContain(definition.options!.join(" "));
    }
});
