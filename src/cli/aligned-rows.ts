import pc from "picocolors";

/** Rows under a bold header, columns two spaces apart; columns in `left` are left-aligned, others right-aligned. */
export function alignedRows(
  rows: readonly (readonly string[])[],
  left: readonly number[],
): string {
  const widths = rows[0]!.map((_, column) =>
    Math.max(...rows.map((row) => row[column]!.length)),
  );
  const [head, ...lines] = rows.map((row) =>
    row
      .map((cell, column) =>
        left.includes(column)
          ? cell.padEnd(widths[column]!)
          : cell.padStart(widths[column]!),
      )
      .join("  ")
      .trimEnd(),
  );
  return [pc.bold(head!), ...lines].join("\n");
}
