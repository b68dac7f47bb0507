/** What the playground's page asks its Worker, which computes beside it: one answer for each question, in order. */
import type { Inspection } from "../../checkpoints/inspect.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import type { Draws } from "./distributions.ts";
import type { Look } from "./look.ts";

export type Questions = {
  /** A file of a distribution's draws. */
  draw: { question: Draws; answer: Blob };
  /** Names of the tensors that can be looked at. */
  tensors: { question: Blob; answer: string[] };
  look: {
    question: {
      file: Blob;
      tensor: string;
      options: SchemeOptions;
      block: number;
    };
    answer: Look;
  };
  /** Undefined of what `inspect` does not read, such as a .npy. */
  inspect: {
    question: ReadonlyMap<string, Blob>;
    answer: Inspection | undefined;
  };
  quantize: {
    question: { file: Blob; options: SchemeOptions };
    answer: Blob;
  };
};
export type QuestionKind = keyof Questions;

export type Question = {
  [K in QuestionKind]: {
    id: number;
    kind: K;
    question: Questions[K]["question"];
  };
}[QuestionKind];
export type WorkerAnswer = { id: number } & (
  { answer: unknown } | { error: string }
);

let asked = 0;
let worker: Worker | undefined;
const waiting = new Map<
  number,
  { resolve: (answer: unknown) => void; reject: (error: Error) => void }
>();

/** Errors: what the Worker's code throws, its message alone */
export function ask<K extends QuestionKind>(
  kind: K,
  question: Questions[K]["question"],
): Promise<Questions[K]["answer"]> {
  worker ??= started();
  const id = ++asked;
  const answer = new Promise((resolve, reject) =>
    waiting.set(id, { resolve, reject }),
  );
  worker.postMessage({ id, kind, question });
  return answer as Promise<Questions[K]["answer"]>;
}

function started(): Worker {
  const made = new Worker("/pages/play-worker.js", { type: "module" });
  made.addEventListener("message", ({ data }: MessageEvent<WorkerAnswer>) => {
    const { resolve, reject } = waiting.get(data.id)!;
    waiting.delete(data.id);
    if ("error" in data) reject(new Error(data.error));
    else resolve(data.answer);
  });
  made.addEventListener("error", ({ message }) => {
    for (const { reject } of waiting.values()) reject(new Error(message));
    waiting.clear();
  });
  return made;
}
