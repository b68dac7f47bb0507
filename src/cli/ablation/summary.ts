/** The results of a setting: a row per arm with final losses and curves. */
import type { CurvePoint, Outcome } from "./outcome.ts";
import { type Setting, trialOf } from "./setting.ts";
import { type BySeed, type Estimate, estimate } from "./statistics.ts";
import { pairedDifference } from "./statistics.ts";

export type Row = {
  name: string;
  /** Final held-out loss, and its differences to baseline and incumbent, paired by seed. */
  valLoss: Estimate;
  gap: Estimate;
  toIncumbent: Estimate;
  seconds: number;
  diverged: number;
  /** Means over seeds at each evaluation: of the loss, and of its difference to the baseline. */
  losses: Estimate[];
  gaps: Estimate[];
};

export type Summary = { setting: Setting; steps: number[]; rows: Row[] };

export function summarize(
  setting: Setting,
  seeds: number,
  world: string,
  outcomeOf: (key: string) => Outcome | undefined,
): Summary {
  const runsOf = (name: string): (Outcome | undefined)[] => {
    const arm = setting.arms.find((each) => each.name === name);
    if (!arm) return [];
    return Array.from({ length: seeds }, (_, seed) =>
      outcomeOf(trialOf(setting, arm, seed, world).key),
    );
  };
  const final = (runs: (Outcome | undefined)[]): BySeed =>
    runs.map((run) => run?.valLoss ?? null);
  const baseline = runsOf(setting.baseline);
  const incumbent = runsOf(setting.incumbent);
  // From a complete run: one that diverged has fewer evaluations.
  const steps = setting.arms
    .flatMap(({ name }) => runsOf(name))
    .map((run) => run?.curve.map(({ step }) => step) ?? [])
    .reduce((most, each) => (each.length > most.length ? each : most), []);
  const rows = setting.arms.flatMap(({ name }): Row[] => {
    const runs = runsOf(name);
    const made = runs.filter((run) => run !== undefined);
    if (made.length === 0) return [];
    const atPoint = (from: (Outcome | undefined)[], index: number): BySeed =>
      from.map((run) => run?.curve[index]?.valLoss ?? null);
    return [
      {
        name,
        valLoss: estimate(numbers(final(runs))),
        gap: pairedDifference(final(runs), final(baseline)),
        toIncumbent: pairedDifference(final(runs), final(incumbent)),
        seconds: estimate(made.map(({ seconds }) => seconds)).mean,
        diverged: made.filter(({ valLoss }) => valLoss === null).length,
        losses: steps.map((_, i) => estimate(numbers(atPoint(runs, i)))),
        gaps: steps.map((_, i) =>
          pairedDifference(atPoint(runs, i), atPoint(baseline, i)),
        ),
      },
    ];
  });
  const place = ({ valLoss }: Row) =>
    valLoss.count > 0 ? valLoss.mean : Infinity;
  // Rows without a loss stay in their order after the others.
  rows.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
  return { setting, steps, rows };
}

/** The page's raw data. */
export function rawData(
  settings: readonly Setting[],
  seeds: number,
  world: string,
  outcomeOf: (key: string) => Outcome | undefined,
) {
  return settings.map((setting) => ({
    name: setting.name,
    base: setting.base,
    baseline: setting.baseline,
    arms: setting.arms.map((arm) => ({
      ...arm,
      runs: Array.from({ length: seeds }, (_, seed) => {
        const run = outcomeOf(trialOf(setting, arm, seed, world).key);
        if (!run) return { seed, valLoss: null };
        const { valLoss, seconds, curve } = run;
        return { seed, valLoss, seconds, curve: curve.map(rounded) };
      }),
    })),
  }));
}

function numbers(values: BySeed): number[] {
  return values.filter((value) => value !== null);
}

/** A point as [step, training loss, held-out loss]. */
function rounded({ step, trainLoss, valLoss }: CurvePoint) {
  const short = (value: number | null) => value && Number(value.toFixed(5));
  return [step, short(trainLoss), short(valLoss)];
}
