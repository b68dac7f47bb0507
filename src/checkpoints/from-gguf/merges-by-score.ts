/**
 * Converts SentencePiece pieces to merges. SentencePiece joins the pair whose piece has the best score; a
 * tokenizer.json, the pair that is listed first. Merges are in the order in which transformers writes them.
 */

/** `scoreOf` is undefined for tokens that no pair makes: control tokens and bytes. */
export function mergesByScore(
  vocab: Readonly<Record<string, number>>,
  scoreOf: (id: number) => number | undefined,
): [string, string][] {
  const merges: { pair: [string, string]; score: number; left: number }[] = [];
  for (const [text, id] of Object.entries(vocab)) {
    const score = scoreOf(id);
    if (score === undefined) continue;
    const characters = Array.from(text);
    for (let left = characters.length - 1; left > 0; left--) {
      const pair: [string, string] = [
        characters.slice(0, left).join(""),
        characters.slice(left).join(""),
      ];
      if (pair.every((part) => Object.hasOwn(vocab, part)))
        merges.push({ pair, score, left });
    }
  }
  return merges
    .toSorted((a, b) => b.score - a.score || b.left - a.left)
    .map(({ pair }) => pair);
}
