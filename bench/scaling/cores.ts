/** How much more all cores compute than one: they share caches and memory with each other, and all with whatever else runs. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const SECONDS = 0.5;

export class Cores {
  readonly #processes: ChildProcess[];

  private constructor(processes: ChildProcess[]) {
    this.#processes = processes;
  }

  static async start(): Promise<Cores> {
    const file = join(import.meta.dirname, "busy-process.ts");
    const processes = Array.from({ length: availableParallelism() }, () =>
      fork(file),
    );
    await Promise.all(processes.map(answerOf));
    return new Cores(processes);
  }

  /** At present: microbatches a second of as many processes as there are cores ÷ those of one. */
  async atWork(): Promise<number> {
    const one = await computedBy(this.#processes.slice(0, 1));
    return (await computedBy(this.#processes)) / one;
  }

  close(): void {
    for (const each of this.#processes) each.kill("SIGKILL");
  }
}

async function computedBy(processes: ChildProcess[]): Promise<number> {
  const rates = processes.map(async (each) => {
    const answer = answerOf(each);
    each.send(SECONDS);
    return (await answer) as number;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

/** Errors: it ends instead */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const answered = new AbortController();
  const { signal } = answered;
  const ended = once(child, "exit", { signal }).then(([code]) => {
    throw new Error(`Expected an answer of a process, got its end, ${code}`);
  });
  try {
    const answer = once(child, "message", { signal });
    return ((await Promise.race([answer, ended])) as [unknown])[0];
  } finally {
    answered.abort();
  }
}
