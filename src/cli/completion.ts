/**
 * Shell completion scripts for the command, its options and their values, generated from the same tables as the help.
 * They do not call the command, so completion is instant.
 */
import type { ArgsDef } from "citty";
import { UsageError } from "./file-arguments.ts";

type Option = {
  /** As typed: `--preset`. */
  name: string;
  description: string;
  /** Empty if any value is allowed. */
  values: readonly string[];
  isSwitch: boolean;
};

type Described = { name: string; description: string; options: Option[] };

type Command = { name: string; description: string; args: ArgsDef };

const HELP: Option = {
  name: "--help",
  description: "Tell its options",
  values: [],
  isSwitch: true,
};

const WRITERS = { bash, zsh, fish };

export const SHELLS = Object.keys(WRITERS);

/** Errors: `UsageError` for another shell */
export function completion(
  program: string,
  commands: readonly Command[],
  [shell, ...rest]: readonly string[],
): string {
  if (
    shell === undefined ||
    !Object.hasOwn(WRITERS, shell) ||
    rest.length > 0
  ) {
    throw new UsageError(
      `Expected one shell of ${SHELLS.join(", ")}, as in \`source <(${program} completion bash)\`, got "${[shell, ...rest].join(" ")}"`,
    );
  }
  return WRITERS[shell as keyof typeof WRITERS](
    program,
    commands.map(described),
  );
}

function described({ name, description, args }: Command): Described {
  const options = Object.entries(args)
    .filter(([, { type }]) => type !== "positional")
    .map(([option, definition]): Option => ({
      name: `--${option}`,
      description: definition.description ?? "",
      values: (definition.type === "enum" && definition.options) || [],
      isSwitch: definition.type === "boolean",
    }));
  return { name, description, options: [...options, HELP] };
}

/** A valid name for a shell function. */
function functionOf(program: string): string {
  return `_${program.replaceAll("-", "_")}`;
}

/** Commands of one word; the others are completed after their first word. */
function firstWords(commands: readonly Described[]): Described[] {
  return commands.filter(({ name }) => !name.includes(" "));
}

function secondWords(commands: readonly Described[]): [string, string][] {
  return commands
    .filter(({ name }) => name.includes(" "))
    .map(({ name }) => name.split(" ") as [string, string]);
}

function bash(program: string, commands: readonly Described[]): string {
  const own = functionOf(program);
  const reply = (words: readonly string[]) =>
    `COMPREPLY=($(compgen -W '${words.join(" ")}' -- "$word"))`;
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter(({ values }) => values.length > 0)
      .map(
        (option) =>
          `    '${name} ${option.name}') ${reply(option.values)}; return ;;`,
      ),
  );
  return `# \`source <(${program} completion bash)\`, in ~/.bashrc for all times
${own}() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  local command=\${COMP_WORDS[1]}
  # An option and its value may stand around an equals sign, which is a word then.
  if [ "$word" = = ]; then word=; elif [ "$before" = = ]; then
    before=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  if [ "$COMP_CWORD" = 1 ]; then
    ${reply([...firstWords(commands).map(({ name }) => name), "completion"])}
    return
  fi
  case "$command \${COMP_WORDS[2]}" in
${secondWords(commands)
  .map(
    ([first, second]) =>
      `    '${first} ${second}') [ "$COMP_CWORD" = 2 ] || command='${first} ${second}' ;;`,
  )
  .join("\n")}
  esac
  case "$command $before" in
    'completion completion') ${reply(SHELLS)}; return ;;
${values.join("\n")}
  esac
  case "$word" in
    -*) case "$command" in
${commands
  .map(
    ({ name, options }) =>
      `      '${name}') ${reply(options.map((option) => option.name))} ;;`,
  )
  .join("\n")}
    esac ;;
    *) COMPREPLY=($(compgen -f -- "$word"))
${secondWords(commands)
  .map(
    ([first, second]) =>
      `      [ "$COMP_CWORD $command" != '2 ${first}' ] || COMPREPLY+=($(compgen -W '${second}' -- "$word"))`,
  )
  .join("\n")} ;;
  esac
}
complete -o filenames -F ${own} ${program}
`;
}

function zsh(program: string, commands: readonly Described[]): string {
  const own = functionOf(program);
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const rows = (all: readonly { name: string; description: string }[]) =>
    all
      .map(({ name, description }) => quoted(`${name}:${description}`))
      .join(" ");
  const values = commands.flatMap(({ name, options }) =>
    options
      .filter(({ values }) => values.length > 0)
      .map(
        (option) =>
          `    ('${name} ${option.name}') compadd -- ${option.values.join(" ")}; return ;;`,
      ),
  );
  return `#compdef ${program}
# \`source <(${program} completion zsh)\` behind compinit, or a file _${program} in $fpath
${own}() {
  local command=\${words[2]}
  local -a names
  if (( CURRENT == 2 )); then
    names=(${rows([...firstWords(commands), { name: "completion", description: "A script like this one" }])})
    _describe command names
    return
  fi
  if (( CURRENT == 3 )); then
    case $command in
${secondWords(commands)
  .map(([first, second]) => `      (${first}) compadd -- ${second} ;;`)
  .join("\n")}
      (completion) compadd -- ${SHELLS.join(" ")}; return ;;
    esac
  else
    case "$command \${words[3]}" in
${secondWords(commands)
  .map(
    ([first, second]) =>
      `      ('${first} ${second}') command='${first} ${second}' ;;`,
  )
  .join("\n")}
    esac
  fi
  local option=\${words[CURRENT-1]}
  if compset -P '--*='; then
    option=\${words[CURRENT]%%=*}
  fi
  case "$command $option" in
${values.join("\n")}
  esac
  if [[ $PREFIX != -* ]]; then
    _files
    return
  fi
  case $command in
${commands
  .map(({ name, options }) => `    ('${name}') names=(${rows(options)}) ;;`)
  .join("\n")}
  esac
  _describe option names
}
if [[ $funcstack[1] == _${program} ]]; then
  ${own} "$@"
else
  compdef ${own} ${program}
fi
`;
}

function fish(program: string, commands: readonly Described[]): string {
  const quoted = (text: string) =>
    `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const complete = (when: string, ...rest: string[]) =>
    `complete -c ${program} -n ${quoted(when)} ${rest.join(" ")}`;
  const seen = (name: string) =>
    name
      .split(" ")
      .map((word) => `__fish_seen_subcommand_from ${word}`)
      .join("; and ");
  const first = "__fish_use_subcommand";
  return [
    `# \`${program} completion fish | source\`, or as ~/.config/fish/completions/${program}.fish`,
    ...firstWords(commands).map(({ name, description }) =>
      complete(first, "-f", "-a", name, "-d", quoted(description)),
    ),
    complete(first, "-f", "-a", "completion", "-d", "'A script like this one'"),
    complete(seen("completion"), "-f", "-a", quoted(SHELLS.join(" "))),
    ...secondWords(commands).map(([one, two]) =>
      complete(seen(one), "-a", two),
    ),
    ...commands.flatMap(({ name, options }) =>
      options.map(({ name: option, description, values, isSwitch }) =>
        complete(
          seen(name),
          "-l",
          option.slice(2),
          ...(isSwitch ? [] : values.length > 0 ? ["-x"] : ["-r"]),
          ...(values.length > 0 ? ["-a", quoted(values.join(" "))] : []),
          "-d",
          quoted(description),
        ),
      ),
    ),
    "",
  ].join("\n");
}
