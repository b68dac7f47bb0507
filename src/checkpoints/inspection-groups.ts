/** Groups an inspection's tensors for display: those whose names differ in numbers only are one line. */
import { grouped } from "./grouped.ts";
import type { InspectedTensor } from "./inspect.ts";

export type InspectedGroup = Pick<
  InspectedTensor,
  "name" | "dtype" | "shape" | "role" | "reason" | "bytes" | "mxfp4Bytes"
> & {
  /** Number of tensors; if more than one, the name has * for numbers. */
  tensors: number;
};

export function inspectedGroups(
  tensors: readonly InspectedTensor[],
): InspectedGroup[] {
  const groups = grouped(tensors, ({ name, dtype, shape, reason }) =>
    [withoutNumbers(name), dtype, shape.join(), reason].join("\n"),
  );
  return Array.from(groups.values(), (group) => {
    const { name, dtype, shape, role, reason } = group[0]!;
    const sum = (key: "bytes" | "mxfp4Bytes") =>
      group.reduce((all, each) => all + each[key], 0);
    return {
      name: group.length === 1 ? name : withoutNumbers(name),
      tensors: group.length,
      dtype,
      shape,
      role,
      reason,
      bytes: sum("bytes"),
      mxfp4Bytes: sum("mxfp4Bytes"),
    };
  });
}

function withoutNumbers(name: string): string {
  return name.replace(/(?<=\.|^)\d+(?=\.|$)/g, "*");
}
