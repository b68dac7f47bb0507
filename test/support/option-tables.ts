/**
 * The declared options and presets as the tables of docs/package/API.md.
 *
 *   node test/support/option-tables.ts && npm run format     writes them there
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Option, Options } from "../../src/api/option-kinds.ts";
import {
  ANALYZE_OPTIONS,
  DEQUANTIZE_OPTIONS,
  FLOATS_OPTIONS,
  GEMM_OPTIONS,
  HADAMARD_OPTIONS,
  QUANTIZE_OPTIONS,
  REPACK_OPTIONS,
} from "../../src/api/options.ts";
import { SCHEME_PRESETS } from "../../src/api/presets.ts";

const TABLES: Record<string, Options> = {
  quantize: QUANTIZE_OPTIONS,
  quantizeFloats: FLOATS_OPTIONS,
  analyze: ANALYZE_OPTIONS,
  dequantize: DEQUANTIZE_OPTIONS,
  repack: REPACK_OPTIONS,
  hadamard: HADAMARD_OPTIONS,
  gemm: GEMM_OPTIONS,
};

const PAGE = join(import.meta.dirname, "../../docs/package/API.md");

/** Each table between its marks, before the formatter aligns it. */
export function pageOfTables(page = readFileSync(PAGE, "utf8")): string {
  const tables = { options: optionTable(), presets: presetTable() };
  return Object.entries(tables).reduce((text, [name, table]) => {
    const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
    const [before] = text.split(open);
    const [, after] = text.split(close);
    return `${before}${open}\n\n${table}\n\n${close}${after}`;
  }, page);
}

/** One row for what is the same in several operations. */
function optionTable(): string {
  const rows = new Map<string, string[]>();
  for (const [operation, table] of Object.entries(TABLES)) {
    for (const [name, option] of Object.entries(table)) {
      const row = [
        code(name),
        valuesOf(option),
        defaultOf(option),
        option.text,
      ];
      const key = JSON.stringify(row);
      rows.set(key, [...(rows.get(key) ?? []), operation]);
    }
  }
  const cells = Array.from(rows, ([key, operations]) => {
    const [name, values, fallback, text] = JSON.parse(key) as string[];
    return [name!, values!, fallback!, operations.join(", "), text!];
  });
  return tableOf([["option", "values", "default", "of", "what"], ...cells]);
}

function presetTable(): string {
  const rows = Object.entries(SCHEME_PRESETS).map(([name, choices]) => [
    code(name),
    Object.entries(choices)
      .map(([option, value]) => code(`${option}: ${JSON.stringify(value)}`))
      .join(", ") || "the defaults",
  ]);
  return tableOf([["preset", "stands for"], ...rows]);
}

function valuesOf(option: Option): string {
  switch (option.kind) {
    case "choice":
      return option.values.map((value) => code(value)).join(" ");
    case "whole":
      return `${option.least} … ${option.mostText ?? option.most}`;
    case "patterns":
      return "array of patterns";
    case "list":
      return "array of strings";
    case "sizes":
      return "array of sizes";
    case "group":
      return Object.entries(option.options)
        .map(([name, part]) => `${code(name)}: ${valuesOf(part)}`)
        .join("; ");
  }
}

function defaultOf(option: Option): string {
  const { default: fallback } = option;
  if (fallback === undefined || typeof fallback === "object") return "";
  return code(fallback);
}

function code(value: string | number): string {
  return `\`${value}\``;
}

function tableOf([head, ...rows]: string[][]): string {
  const rule = head!.map(() => "-");
  return [head!, rule, ...rows]
    .map(
      (cells) =>
        `| ${cells.map((each) => each.replace(/\|/g, "\\|")).join(" | ")} |`,
    )
    .join("\n")
    .replace(/ +/g, " ");
}

if (import.meta.main) writeFileSync(PAGE, pageOfTables());
