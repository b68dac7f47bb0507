/** A run's progress: a line that is redrawn on a terminal, elsewhere a line from time to time. */
import pc from "picocolors";
import type { Dataset } from "../api/dataset.ts";
import type { RunEvent, StepMetrics } from "../api/run-metrics.ts";
import { duration } from "./duration.ts";

/** Number of lines for the whole run without a terminal. */
const PLAIN_LINES = 40;
/** Percent of a dataset's progress between two lines without a terminal. */
const PLAIN_PERCENT = 10;
/** Number of recent steps from which the speed is computed. */
const WINDOW = 20;
/** Drawing the lines above costs more than the line itself. */
const REDRAW_MS = 100;

type Output = Pick<NodeJS.WriteStream, "write"> & {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
};

/** Parts of the line, in order; may be empty. */
type Parts = Record<"step" | "loss" | "valLoss" | "speed" | "eta", string>;

export class Progress {
  readonly #out: Output;
  readonly #steps: number;
  readonly #recent: StepMetrics[] = [];
  readonly #above: (() => string[]) | undefined;
  #valLoss = "-";
  #datasetPercent = 0;
  /** Number of lines that are redrawn. */
  #height = 0;
  #drawnMs = -Infinity;

  /** `above`: further redrawn lines above, on a terminal. */
  constructor(out: Output, steps: number, above?: () => string[]) {
    this.#out = out;
    this.#steps = steps;
    this.#above = above;
  }

  /** Shows an event. */
  event(event: RunEvent): void {
    if (event.type === "step") this.#step(event.metrics);
    else if (event.type === "evaluation") this.#evaluation(event);
    else if (event.type === "trainer")
      this.line(pc.dim(`trainer ${event.trainer} ${event.change}`));
    else if (event.type === "conflict") {
      this.line(
        pc.red(
          `step ${event.step}: ${event.author} has a different result for ${event.kind} microbatch ${event.microbatch}`,
        ),
      );
    } else if (event.type === "fingerprint") {
      this.line(pc.yellow(fingerprintText(event.fingerprint)));
    } else if (event.type === "rewind") {
      this.#recent.length = 0;
      this.line(pc.yellow(`the run was rewound to step ${event.step}`));
    } else if (event.type === "author") {
      this.line(pc.yellow(`${event.author} is ${event.state}`));
    } else if (event.type === "waiting") {
      this.line(
        pc.yellow(
          `step ${event.step} waits for one more author: ${event.kind} microbatch ${event.microbatch} is ${event.reason}`,
        ),
      );
    } else this.line(pc.dim(`run is ${event.state}`));
  }

  /** Shows the progress of training a dataset's tokenizer. */
  dataset({ name, tokenizer, state, progress }: Dataset): void {
    if (tokenizer === "byte") return;
    this.#clear();
    if (state !== "training") return;
    const percent = Math.floor(100 * progress);
    const text = `${name}: training its tokenizer  ${percent} %`;
    if (!this.#out.isTTY) {
      // Of a text that takes its time; a short one is ready before.
      if (percent < this.#datasetPercent + PLAIN_PERCENT) return;
      this.#datasetPercent = percent;
      this.line(text);
      return;
    }
    this.#out.write(text.slice(0, this.#columns - 1));
    this.#height = 1;
  }

  /** A permanent line. */
  line(text: string): void {
    this.#clear();
    this.#out.write(`${text}\n`);
  }

  /** A permanent line on stderr. */
  warn(text: string): void {
    this.#clear();
    console.error(text);
  }

  #step(metrics: StepMetrics): void {
    this.#recent.push(metrics);
    if (this.#recent.length > WINDOW) this.#recent.shift();
    const done = metrics.step + 1;
    const parts = this.#describe(metrics, done);
    if (this.#out.isTTY) {
      this.#draw(shortened(parts, this.#columns - 1), done === this.#steps);
    } else if (
      done === this.#steps ||
      done % Math.max(1, Math.round(this.#steps / PLAIN_LINES)) === 0
    ) {
      this.line(joined(parts));
    }
  }

  /** Default for terminals without a known size. */
  get #columns(): number {
    return this.#out.columns || 80;
  }

  /** Prints the lines above permanently, unless they would wrap. */
  keepAbove(): void {
    const lines = this.#above?.() ?? [];
    if (this.#out.isTTY && !this.#isWideFor(lines)) return;
    for (const line of lines) this.line(line);
  }

  #isWideFor(lines: readonly string[]): boolean {
    return lines.every(({ length }) => length < this.#columns);
  }

  #draw(text: string, isLast: boolean): void {
    const nowMs = performance.now();
    if (!isLast && this.#above && nowMs - this.#drawnMs < REDRAW_MS) return;
    this.#drawnMs = nowMs;
    const lines = [...this.#fitting(), text];
    this.#clear();
    this.#out.write(lines.join("\n"));
    this.#height = lines.length;
  }

  /** The lines above; none if the terminal is too small, since wrapped or scrolled lines cannot be cleared. */
  #fitting(): string[] {
    const above = this.#above?.() ?? [];
    const rows = this.#out.rows || 24;
    const fits = above.length + 1 < rows && this.#isWideFor(above);
    return fits ? above : [];
  }

  #evaluation(event: Extract<RunEvent, { type: "evaluation" }>): void {
    const { step, valLoss, valNatsPerByte, tokens, bytes } = event;
    this.#valLoss = losses(valLoss, valNatsPerByte);
    const told = losses(valLoss, valNatsPerByte, " nats per byte");
    const text = tokens === bytes ? "" : ` of ${bytes} bytes`;
    this.line(
      `step ${step}  ${pc.bold(`val loss ${told}`)}  over ${tokens} held-out tokens${text}`,
    );
  }

  #describe(metrics: StepMetrics, done: number): Parts {
    const speed = this.#tokensPerSecond();
    const tokensLeft = (metrics.tokens / done) * (this.#steps - done);
    return {
      step: `step ${done}/${this.#steps}`,
      loss: `loss ${losses(metrics.trainLoss, metrics.trainNatsPerByte)}`,
      valLoss: `val loss ${this.#valLoss}`,
      speed: speed ? `${Math.round(speed)} tokens/s` : "",
      // What is left then takes as long as there is held-out text.
      eta:
        done === this.#steps
          ? "evaluating on the held-out text"
          : speed
            ? `ETA ${duration(tokensLeft / speed)}`
            : "",
    };
  }

  #tokensPerSecond(): number | undefined {
    const first = this.#recent[0];
    const last = this.#recent.at(-1);
    if (!first || !last || last.committedMs <= first.committedMs)
      return undefined;
    return (
      ((last.tokens - first.tokens) / (last.committedMs - first.committedMs)) *
      1000
    );
  }

  #clear(): void {
    if (this.#height > 0)
      this.#out.write(`\r\x1b[2K${"\x1b[1A\x1b[2K".repeat(this.#height - 1)}`);
    this.#height = 0;
  }
}

/** Omits the least important parts that do not fit. */
function shortened(parts: Parts, columns: number): string {
  const shown = { ...parts };
  for (const name of ["speed", "valLoss", "eta"] as const)
    if (joined(shown).length > columns) shown[name] = "";
  return joined(shown).slice(0, columns);
}

function joined(parts: Parts): string {
  return Object.values(parts).filter(Boolean).join("  ");
}

export function lossText(value: number | null): string {
  return value === null ? "-" : value.toFixed(4);
}

/** Loss per token, and in parentheses per byte if it differs; metrics of earlier releases have only the first. */
export function losses(
  perToken: number | null,
  perByte: number | null | undefined,
  unit = "",
): string {
  if (perToken === (perByte ?? perToken)) return lossText(perToken);
  return `${lossText(perToken)} (${lossText(perByte!)}${unit})`;
}

function fingerprintText(fingerprint: string | null): string {
  return fingerprint === null
    ? "the next trainer that joins sets the required fingerprint"
    : `the required fingerprint is now ${fingerprint}`;
}
