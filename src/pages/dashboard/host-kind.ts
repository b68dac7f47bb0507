/** Display names of trainers' hosts. */
import type { HostKind } from "../../api/run-status.ts";

const KINDS: Record<HostKind, string> = {
  edge: "Durable Object",
  node: "Node",
  browser: "browser",
};

export function hostKind(host: HostKind | null): string {
  return host === null ? "not told" : KINDS[host];
}
