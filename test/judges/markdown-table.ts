/** A Markdown table, its head first, with columns padded as Prettier pads them. */
export function markdownTable(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  const [head, ...rest] = rows;
  return [
    line(head!),
    line(widths.map((width) => "-".repeat(width))),
    ...rest.map(line),
  ].join("\n");
}
