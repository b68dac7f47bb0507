/** Progress of all runs: a line that is redrawn on a terminal, elsewhere a line from time to time. */
import { duration } from "../duration.ts";
import type { Outcome } from "./outcome.ts";
import type { Trial } from "./setting.ts";

type Output = Pick<NodeJS.WriteStream, "write"> & { isTTY?: boolean };

/** Interval without a terminal. */
const PLAIN_MS = 15_000;
/** Shortest interval on a terminal. */
const TERMINAL_MS = 200;

export class Overview {
  readonly #out: Output;
  /** Work done so far in each running run. */
  readonly #underWay = new Map<string, number>();
  #runs = 0;
  #kept = 0;
  #finished = 0;
  #work = 0;
  #workDone = 0;
  #beganMs = 0;
  #shownMs = 0;
  #hasLine = false;

  constructor(out: Output) {
    this.#out = out;
  }

  begin(runs: number, missing: readonly Trial[]): void {
    this.#runs = runs;
    this.#kept = runs - missing.length;
    this.#work = missing.reduce((sum, { work }) => sum + work, 0);
    this.#beganMs = Date.now();
    if (this.#kept > 0) this.line(`${this.#kept} of ${runs} runs are kept`);
  }

  step({ key, work, request }: Trial, step: number): void {
    this.#underWay.set(key, (work * step) / request.steps);
    this.#show();
  }

  finished({ key, work, request }: Trial, { valLoss, seconds }: Outcome): void {
    this.#underWay.delete(key);
    this.#workDone += work;
    this.#finished++;
    const { recipe, gradientDtype, seed, optimizer } = request;
    this.line(
      `${recipe}, ${gradientDtype} on the wire, ${optimizer?.name}, seed ${seed}: ${valLoss?.toFixed(4) ?? "diverged"} in ${seconds.toFixed(0)} s`,
    );
    this.#show(true);
  }

  /** A permanent line. */
  line(text: string): void {
    this.#clear();
    this.#out.write(`${text}\n`);
  }

  end(): void {
    this.#clear();
  }

  #show(now = false): void {
    const pause = this.#out.isTTY ? TERMINAL_MS : PLAIN_MS;
    if (!now && Date.now() - this.#shownMs < pause) return;
    this.#shownMs = Date.now();
    this.#clear();
    const elapsed = (Date.now() - this.#beganMs) / 1000;
    const parts = [...this.#underWay.values()];
    const done = parts.reduce((sum, part) => sum + part, this.#workDone);
    const left = done > 0 ? (elapsed * (this.#work - done)) / done : 0;
    const text = [
      `${this.#kept + this.#finished}/${this.#runs} runs`,
      `${parts.length} under way`,
      `${duration(elapsed)} so far`,
      `ETA ${duration(left)}`,
    ].join("  ");
    this.#out.write(this.#out.isTTY ? text : `${text}\n`);
    this.#hasLine = this.#out.isTTY === true;
  }

  #clear(): void {
    if (this.#hasLine) this.#out.write("\r\x1b[2K");
    this.#hasLine = false;
  }
}
