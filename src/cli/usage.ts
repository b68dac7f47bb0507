/** The text of `--help`, in at most 80 columns. */
import type { ArgsDef } from "citty";

const COLUMNS = 80;
/** Column of descriptions; after a longer name they begin on the next line. */
const INDENT = 24;

type Described = {
  /** As it is called: `npm run train --`. */
  name: string;
  description: string;
  args?: ArgsDef;
  commands?: Record<string, string>;
  operands?: { name: string; description: string };
  passedTo?: string;
  /** Paragraphs at the end. */
  notes?: readonly string[];
};

export function usage(described: Described): string {
  const {
    name,
    description,
    args,
    commands,
    operands,
    passedTo,
    notes = [],
  } = described;
  const all = Object.entries(args ?? {});
  const positional = all.filter(([, { type }]) => type === "positional");
  const options = all.filter(([, { type }]) => type !== "positional");
  const shown = options.flatMap(([option, definition]) =>
    optionRows(option, definition),
  );
  const call = [
    name,
    ...(commands ? ["<command>"] : []),
    "[options]",
    ...positional.map(([argument, { required }]) =>
      required === false ? `[${argument}]` : `<${argument}>`,
    ),
    ...(operands ? [`[${operands.name} ...]`] : []),
  ];
  return [
    ...wrap(description, 0),
    "",
    ...wrap(`Usage: ${call.join(" ")}`, 7),
    ...section("Commands", Object.entries(commands ?? {})),
    ...section("Arguments", [
      ...positional.map(([argument, each]): Row => [
        argument,
        each.description ?? "",
      ]),
      ...(operands ? [[operands.name, operands.description] as Row] : []),
    ]),
    ...section("Options", [
      ...shown,
      ["-h, --help", "Show this help and exit"],
      ["--version", "Show the version and exit"],
    ]),
    ...(passedTo
      ? [
          "",
          ...wrap(
            `Other arguments are passed to \`${passedTo}\`; see \`npx ${passedTo} --help\`.`,
            0,
          ),
        ]
      : []),
    ...notes.flatMap((note) => ["", ...wrap(note, 0)]),
  ].join("\n");
}

type Row = [name: string, description: string];
type Definition = ArgsDef[string];

function optionRows(name: string, definition: Definition): Row[] {
  const { description = "", default: preset, type } = definition;
  const choices =
    type === "enum" && definition.options
      ? `. One of: ${definition.options.join(", ")}`
      : "";
  const notes = [
    ...(definition.required ? ["required"] : []),
    ...(preset === undefined || preset === "" || type === "boolean"
      ? []
      : [`default: ${String(preset)}`]),
  ];
  const note = notes.length > 0 ? ` (${notes.join(", ")})` : "";
  const hint =
    type === "boolean"
      ? ""
      : `=<${definition.valueHint ?? name.toUpperCase()}>`;
  const alias = "alias" in definition ? [definition.alias].flat() : [];
  const names = [...alias.map((each) => `-${each}`), `--${name}`].join(", ");
  const row: Row = [`${names}${hint}`, `${description}${note}${choices}`];
  const { negativeDescription } = definition as {
    negativeDescription?: string;
  };
  if (!negativeDescription) return [row];
  const negative: Row = [`--no-${name}`, negativeDescription];
  return preset === true ? [negative] : [row, negative];
}

function section(title: string, rows: Row[]): string[] {
  if (rows.length === 0) return [];
  const lines = rows.flatMap(([name, description]) => {
    const left = `  ${name}`;
    const right = wrap(description, INDENT, INDENT);
    return left.length <= INDENT - 2
      ? [left.padEnd(INDENT) + (right[0] ?? "").trimStart(), ...right.slice(1)]
      : [left, ...right];
  });
  return ["", `${title}:`, ...lines];
}

/** Wraps to 80 columns; the first line is indented by `first`, the others by `indent`. */
function wrap(text: string, indent: number, first = 0): string[] {
  const lines: string[] = [];
  let line = " ".repeat(first);
  let isEmpty = true;
  for (const word of text.split(" ")) {
    if (!isEmpty && line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = " ".repeat(indent) + word;
    } else {
      line += (isEmpty ? "" : " ") + word;
    }
    isEmpty = false;
  }
  return [...lines, line];
}
