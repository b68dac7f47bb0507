/** The Range header (RFC 9110 §14.2): a single range of bytes is supported, several are refused. */
import { AppError } from "../../api/errors.ts";

export type ByteRange = { offset: number; length: number };

/**
 * The requested range of `size` bytes; undefined if it is to be ignored: not in bytes, or the last bytes of an empty
 * file. Errors: `range_not_satisfiable`
 */
export function readRange(header: string, size: number): ByteRange | undefined {
  const [, unit = "", set = ""] = /^([^=]*)=(.*)$/.exec(header) ?? [];
  if (unit.trim().toLowerCase() !== "bytes") return undefined;
  // A list may have empty members (§5.6.1.2).
  const members = set.split(",").map((member) => member.trim());
  const [only = "", ...others] = members.filter(Boolean);
  const [, first, last] = /^(\d*)-(\d*)$/.exec(only) ?? [];
  const isRange = first !== undefined && last !== undefined && only !== "-";
  const refused = (expected: string) =>
    new AppError(
      "range_not_satisfiable",
      `Expected ${expected}, got "${header}"`,
    );
  if (!isRange || others.length > 0)
    throw refused("one range of bytes, as in `bytes=0-4095`");
  if (first === "") {
    const length = Math.min(Number(last), size);
    if (Number(last) === 0) throw refused("at least 1 byte");
    return length === 0 ? undefined : { offset: size - length, length };
  }
  const offset = Number(first);
  const end = last === "" ? size : Math.min(size, Number(last) + 1);
  if (offset >= end) throw refused(`a range within ${size} bytes`);
  return { offset, length: end - offset };
}
