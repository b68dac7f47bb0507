/** A machine that is played: strands that need a core, the edge's one thread, or time, one thing after another. */

/** `until` waits for others. */
type Need =
  { of: "core" | "edge" | "time"; seconds: number } | { until: () => boolean };
export type Strand = Generator<Need, void, void>;

type Running = { strand: Strand; need: Need; left: number };

export class PlayedMachine {
  readonly #cores: number;
  #running: Running[] = [];
  #seconds = 0;

  /** `cores`: how many times as fast as one all of them are. */
  constructor(cores: number) {
    this.#cores = cores;
  }

  start(strand: Strand): void {
    const { done, value } = strand.next();
    if (done) return;
    const left = "until" in value ? 0 : value.seconds;
    this.#running.push({ strand, need: value, left });
  }

  /** Seconds from the beginning to when `isOver`. Errors: all strands have ended before, or wait for each other */
  play(isOver: () => boolean): number {
    while (!isOver()) if (!this.#goOn()) this.#pass();
    return this.#seconds;
  }

  /** Whether a strand has what it needed, and went on to its next need. */
  #goOn(): boolean {
    const found = this.#running.find(({ need, left }) =>
      "until" in need ? need.until() : left <= 0,
    );
    if (!found) return false;
    this.#running = this.#running.filter((each) => each !== found);
    this.start(found.strand);
    return true;
  }

  /** Lets time pass until one has what it needs. Who is at work has an equal part of the cores, and no more than one. */
  #pass(): void {
    const [edge] = this.#at("edge");
    const atCores = [...this.#at("core"), ...(edge ? [edge] : [])];
    const waiting = this.#at("time");
    const rate = Math.min(1, this.#cores / atCores.length);
    const passed = Math.min(
      ...atCores.map(({ left }) => left / rate),
      ...waiting.map(({ left }) => left),
    );
    if (passed === Infinity)
      throw new Error("Expected a strand that needs time, got none");
    this.#seconds += passed;
    for (const each of atCores) each.left = less(each.left, passed * rate);
    for (const each of waiting) each.left = less(each.left, passed);
  }

  /** In the order in which they came there. */
  #at(what: "core" | "edge" | "time"): Running[] {
    return this.#running.filter(({ need }) => "of" in need && need.of === what);
  }
}

/** What is left, without what rounding leaves of it. */
function less(left: number, done: number): number {
  return left - done > 1e-12 ? left - done : 0;
}
