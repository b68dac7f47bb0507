/** What the playground's page asks its Worker, which computes beside it: one answer for each question, in order. */
import type { Inspection } from "../../checkpoints/inspect.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import type { Draws } from "./distributions.ts";
import type { Look } from "./look.ts";

/** By name; `first` is looked at unless told: the first matrix, since biases and norms are not what is packed. */
export type Tensors = { names: string[]; first: string | undefined };

export type Questions = {
  /** A file of a distribution's draws. */
  draw: { question: Draws; answer: Blob };
  /** The tensors that can be looked at. */
  tensors: { question: Blob; answer: Tensors };
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
  { answer: unknown } | { error: string } | { share: number }
);

/** A look that takes longer than this gives way to what is asked next: its Worker ends, and another goes on. */
const LONG_MS = 1_000;

/** Told to whoever waits for what gave way. */
export class Overtaken extends Error {
  constructor() {
    super("Another was asked for");
  }
}

type Waiting = {
  asked: Question;
  sinceMs: number;
  resolve: (answer: unknown) => void;
  reject: (error: Error) => void;
  heard: (share: number) => void;
};

/** One Worker, and what it was asked and has not answered. */
class Line {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;

  ask(asked: Question, heard: (share: number) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const sinceMs = performance.now();
      this.#waiting.set(asked.id, { asked, sinceMs, resolve, reject, heard });
      this.#send(asked);
    });
  }

  /** Those that are meant are told `why`; what others asked goes to another Worker. */
  end(why: Error, isMeant: (each: Waiting) => boolean = () => true): void {
    for (const [id, each] of this.#waiting)
      if (isMeant(each)) {
        this.#waiting.delete(id);
        each.reject(why);
      }
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { asked } of this.#waiting.values()) this.#send(asked);
  }

  /** Looks that were asked for before this, and have taken long, give way to it. */
  overtake(id: number): void {
    const isOvertaken = ({ asked, sinceMs }: Waiting) =>
      asked.kind === "look" &&
      asked.id < id &&
      performance.now() - sinceMs >= LONG_MS;
    if ([...this.#waiting.values()].some(isOvertaken))
      this.end(new Overtaken(), isOvertaken);
  }

  #send(asked: Question): void {
    this.#worker ??= this.#started();
    this.#worker.postMessage(asked);
  }

  #started(): Worker {
    const made = new Worker("/pages/play-worker.js", { type: "module" });
    made.addEventListener("message", ({ data }: MessageEvent<WorkerAnswer>) => {
      const { resolve, reject, heard } = this.#waiting.get(data.id)!;
      if ("share" in data) return heard(data.share);
      this.#waiting.delete(data.id);
      if ("error" in data) reject(new Error(data.error));
      else resolve(data.answer);
    });
    made.addEventListener("error", ({ message }) =>
      this.end(new Error(message)),
    );
    return made;
  }
}

let asked = 0;
const looking = new Line();
/** A file is quantized beside all else, which goes on meanwhile. */
const quantizing = new Line();

/** `heard` is told which share is done. Errors: what the Worker's code throws, its message alone */
export function ask<K extends QuestionKind>(
  kind: K,
  question: Questions[K]["question"],
  heard: (share: number) => void = () => undefined,
): Promise<Questions[K]["answer"]> {
  const line = kind === "quantize" ? quantizing : looking;
  const id = ++asked;
  line.overtake(id);
  // What was young by now is not, if it still stands before this then.
  setTimeout(() => line.overtake(id), LONG_MS);
  const whole = { id, kind, question } as Question;
  return line.ask(whole, heard) as Promise<Questions[K]["answer"]>;
}

/** Whoever waits for a quantized file gets none. */
export function stopQuantizing(): void {
  quantizing.end(new Error("stopped"));
}
