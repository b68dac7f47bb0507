/**
 * Optimizers are data: what updates matrices, and what is taken where a run's request does not say. Tables
 * and vectors are always AdamW's.
 */

/** How a learning rate goes from its peak to its end, after warm-up. */
export const SCHEDULES = ["linear", "cosine", "constant"] as const;
type Schedule = (typeof SCHEDULES)[number];

type OptimizerDefaults = {
  /** Peak of AdamW, reached after `warmupSteps`. */
  learningRate: number;
  /** Peak of what updates matrices. */
  matrixLearningRate: number;
  schedule: Schedule;
  /** The schedule ends at this fraction of the peak. */
  finalLearningRateRatio: number;
  warmupSteps: number;
  /** Of schedule `constant`: so many steps at the end, the rate falls linearly. */
  cooldownSteps: number;
  /** Of Muon. */
  momentum: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** On matrices and tables only; biases and LayerNorm do not decay. */
  weightDecay: number;
  /** Largest global L2 norm a gradient keeps on its way to AdamW; Muon sets the size of its steps itself. */
  clip: number;
};

type Optimizer = { matrices: "muon" | "adamw"; defaults: OptimizerDefaults };

const SHARED = {
  schedule: "linear",
  finalLearningRateRatio: 0,
  warmupSteps: 0,
  cooldownSteps: 0,
  momentum: 0.9,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
} as const;

export const OPTIMIZERS = {
  /**
   * Jordan et al., Muon (2024): momentum, orthogonalized matrix by matrix. Their rate and momentum, 0.02 and
   * 0.95, end higher in runs of this length (docs/ablation.md).
   */
  muon: {
    matrices: "muon",
    defaults: { ...SHARED, learningRate: 8e-3, matrixLearningRate: 0.03 },
  },
  /** Loshchilov & Hutter, arXiv 1711.05101. Without warm-up so high a rate spoils the first steps. */
  adamw: {
    matrices: "adamw",
    defaults: {
      ...SHARED,
      learningRate: 8e-3,
      matrixLearningRate: 8e-3,
      warmupSteps: 50,
    },
  },
  /** As most train GPTs: a lower peak, warmed up, down a cosine to a tenth. */
  "adamw-cosine": {
    matrices: "adamw",
    defaults: {
      ...SHARED,
      learningRate: 3e-3,
      matrixLearningRate: 3e-3,
      schedule: "cosine",
      finalLearningRateRatio: 0.1,
      warmupSteps: 50,
    },
  },
} as const satisfies Record<string, Optimizer>;

export type OptimizerName = keyof typeof OPTIMIZERS;
export const OPTIMIZER_NAMES = Object.keys(OPTIMIZERS) as OptimizerName[];

/** What a run has: all of it. */
export type OptimizerConfig = OptimizerDefaults & { name: OptimizerName };

/** With the defaults of its name; a rate for matrices that is not told is the other, where one rules both. */
export function completeOptimizer(
  given: Partial<OptimizerConfig>,
): OptimizerConfig {
  const { name = "muon" } = given;
  const { matrices, defaults }: Optimizer = OPTIMIZERS[name];
  return overlaid({ name, ...defaults }, given, matrices === "adamw");
}

/** That of a run before, with what is told anew. */
export function changedOptimizer(
  before: OptimizerConfig,
  given: Partial<OptimizerConfig>,
): OptimizerConfig {
  const whole = completeOptimizer(before);
  const hasOneRate =
    OPTIMIZERS[whole.name].matrices === "adamw" &&
    whole.matrixLearningRate === whole.learningRate;
  return overlaid(whole, given, hasOneRate);
}

function overlaid(
  base: OptimizerConfig,
  given: Partial<OptimizerConfig>,
  hasOneRate: boolean,
): OptimizerConfig {
  const { learningRate } = given;
  const shared =
    hasOneRate && learningRate !== undefined
      ? { matrixLearningRate: learningRate }
      : {};
  const told = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...base, ...shared, ...Object.fromEntries(told) };
}

/** What makes no sense together, of what is `given`, and of all that a run of `steps` then has. */
export function optimizerProblems(
  given: Partial<OptimizerConfig>,
  { name, schedule, warmupSteps, cooldownSteps }: OptimizerConfig,
  steps: number,
): string[] {
  const problems: string[] = [];
  if (given.momentum !== undefined && OPTIMIZERS[name].matrices !== "muon") {
    problems.push(
      `Expected \`optimizer.momentum\` with optimizer muon only, got ${name}, which has \`beta1\``,
    );
  }
  if (cooldownSteps > 0 && schedule !== "constant") {
    problems.push(
      `Expected \`optimizer.cooldownSteps\` with schedule constant only, got ${cooldownSteps} with ${schedule}, which falls from the start`,
    );
  }
  if (cooldownSteps > 0 && warmupSteps + cooldownSteps > steps) {
    problems.push(
      `Expected at most ${steps} steps of warm-up and cool-down, got ${warmupSteps} and ${cooldownSteps}`,
    );
  }
  if (given.warmupSteps !== undefined && warmupSteps > steps) {
    problems.push(
      `Expected \`optimizer.warmupSteps\` to be at most the run's ${steps} steps, got ${warmupSteps}`,
    );
  }
  const neverFalls = schedule === "constant" && cooldownSteps === 0;
  if (given.finalLearningRateRatio !== undefined && neverFalls) {
    problems.push(
      `Expected \`optimizer.finalLearningRateRatio\` with \`cooldownSteps\` where the schedule is constant, got ${given.finalLearningRateRatio} with none, so that the rate never falls`,
    );
  }
  return problems;
}
