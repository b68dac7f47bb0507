/** The playground's requests to its Worker; answered one at a time, in order. */
import type { Inspection } from "../../checkpoints/inspect.ts";
import type { SchemeOptions } from "../../api/tensors.ts";
import type { Draws } from "./distributions.ts";
import type { Look } from "./look.ts";

/** `first` is the default: the first matrix, since biases and norms are usually not quantized. */
export type Tensors = {
  names: string[];
  first: string | undefined;
  /** Of all tensors of the file. */
  dtypes: string[];
};

export type Questions = {
  /** A file with a distribution's values. */
  draw: { question: Draws; answer: Blob };
  /** The float tensors of a file. */
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
  /** Undefined for files that `inspect` does not support, such as .npy. */
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

/** A `look` request that takes longer is cancelled by the next request: its Worker is terminated and replaced. */
const LONG_MS = 1_000;

/** The error of a cancelled request. */
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

/** A Worker with its pending requests. */
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

  /** Rejects the matching requests with `why`; sends the others to a new Worker. */
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

  /** Cancels earlier `look` requests that have taken long. */
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
/** Quantizing a file has its own Worker, so that other requests continue. */
const quantizing = new Line();

/** `heard` receives progress. Errors: those of the Worker's code, by message */
export function ask<K extends QuestionKind>(
  kind: K,
  question: Questions[K]["question"],
  heard: (share: number) => void = () => undefined,
): Promise<Questions[K]["answer"]> {
  const line = kind === "quantize" ? quantizing : looking;
  const id = ++asked;
  line.overtake(id);
  // Checked again later, for requests that are not long enough yet.
  setTimeout(() => line.overtake(id), LONG_MS);
  const whole = { id, kind, question } as Question;
  return line.ask(whole, heard) as Promise<Questions[K]["answer"]>;
}

/** Its request is rejected. */
export function stopQuantizing(): void {
  quantizing.end(new Error("stopped"));
}
