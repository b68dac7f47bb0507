/** The machine that figures belong to. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { PAIRS_VECTORS } from "../src/kernels/load-file.ts";
import type { Kernels } from "../src/kernels/runtime.ts";
import { chooseVariant, type Variant } from "./variant.ts";

export type Machine = {
  cpu: string;
  cores: number;
  /** Measured, one thread at work. */
  clockGHz: number;
  node: string;
  v8: string;
  workerd: string;
  /** Whether one instruction multiplies, adds and accumulates bytes: the probe's answer. */
  vnni: boolean;
  /** Whether `relaxed_madd` rounds once. */
  fma: boolean;
  /** Whether Node's V8 takes vectors in pairs. */
  pairs: boolean;
  /** The form of the dot that the MXFP4 products used: the probe's choice, or a forced one. */
  variant: Variant;
};

/** Also makes the choice, in this process. */
export function describeMachine(
  kernels: Kernels,
  forced: Variant | undefined,
): Machine {
  const vnni = kernels.exports.accumulatesDots() === 1;
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    clockGHz: clockGHz(),
    node: process.versions.node,
    v8: process.versions.v8,
    workerd: workerdVersion(),
    vnni,
    fma: kernels.exports.fusesMadd() === 1,
    pairs: PAIRS_VECTORS,
    variant: chooseVariant(kernels, forced),
  };
}

/** From a chain of dependent multiplications, three cycles each on every x86-64 and Arm core of today. */
function clockGHz(): number {
  const COUNT = 4_000_000;
  let best = 0;
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    chain(1, 0x9e3779b1, COUNT);
    best = Math.max(best, (3 * COUNT) / (performance.now() - start) / 1e6);
  }
  return Number(best.toPrecision(3));
}

function chain(x: number, factor: number, count: number): number {
  for (let i = 0; i < count; i += 4) {
    x = Math.imul(Math.imul(x, factor), factor);
    x = Math.imul(Math.imul(x, factor), factor);
  }
  return x;
}

/** The version that Miniflare runs. */
function workerdVersion(): string {
  const own = createRequire(import.meta.url);
  const miniflares = createRequire(own.resolve("miniflare"));
  const file = miniflares.resolve("workerd/package.json");
  const { version } = JSON.parse(readFileSync(file, "utf8")) as {
    version: string;
  };
  return version;
}
