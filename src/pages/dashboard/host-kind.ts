/** Where a trainer computes, by the names that this project's own hosts give their trainers. */
const KINDS: readonly (readonly [prefix: string, kind: string])[] = [
  ["edge-", "Durable Object"],
  ["tab-", "browser"],
];

/** Names of those with join tokens stand behind the token's id and a slash. */
export function hostKind(trainer: string): string {
  const name = trainer.slice(trainer.lastIndexOf("/") + 1);
  return KINDS.find(([prefix]) => name.startsWith(prefix))?.[1] ?? "Node";
}
