/** What a person sees while it runs: a line as each benchmark is done, and on a terminal the round. */
import pc from "picocolors";
import type { Benchmark, Group } from "./benchmark.ts";
import type { Result, Runtime } from "./result.ts";

export class Progress {
  readonly #out = process.stderr;
  #label = "";
  #rounds = 0;

  start(
    runtime: Runtime,
    { name, benchmarks }: Group<Benchmark>,
    rounds: number,
  ): void {
    this.#label = `${runtime} ${name}`;
    this.#rounds = rounds;
    this.#line(
      pc.dim(`${this.#label}: ${benchmarks.length} in turn, ${rounds} rounds`),
    );
  }

  round(round: number): void {
    if (!this.#out.isTTY) return;
    this.#out.write(`\r${this.#label}: round ${round + 1} of ${this.#rounds}`);
  }

  result({ runtime, name, value, unit, baseline, ratio }: Result): void {
    const to =
      baseline === undefined ? "" : `  ${ratio?.toFixed(2)} × ${baseline}`;
    this.#line(
      `${runtime.padEnd(7)}  ${name.padEnd(42)}  ${value.toFixed(1).padStart(6)} ${unit}${pc.dim(to)}`,
    );
  }

  #line(text: string): void {
    this.#out.write(this.#out.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
  }
}
