/**
 * Optimizers as data: the rule that updates matrices, and defaults for a run's request. Embeddings and vectors always
 * use AdamW.
 */

/** Decay of the learning rate from its peak, after warm-up. */
export const SCHEDULES = ["linear", "cosine", "constant"] as const;
type Schedule = (typeof SCHEDULES)[number];

type OptimizerDefaults = {
  /** Peak for AdamW, reached after `warmupSteps`. */
  learningRate: number;
  /** Peak for matrices. */
  matrixLearningRate: number;
  schedule: Schedule;
  /** Final rate as a fraction of the peak. */
  finalLearningRateRatio: number;
  warmupSteps: number;
  /** For schedule `constant`: the number of final steps in which the rate falls linearly. */
  cooldownSteps: number;
  /** For Muon. */
  momentum: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** For matrices and embeddings only, not biases and norms. */
  weightDecay: number;
  /** Largest global L2 norm of the gradients for AdamW; Muon normalizes its own steps. */
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
   * Jordan et al., Muon (2024): momentum, orthogonalized per matrix. Their rate 0.02 and momentum 0.95 give higher
   * losses in runs of this length (docs/ablation.md).
   */
  muon: {
    matrices: "muon",
    defaults: { ...SHARED, learningRate: 8e-3, matrixLearningRate: 0.03 },
  },
  /** Loshchilov & Hutter, arXiv 1711.05101. A rate this high needs warm-up. */
  adamw: {
    matrices: "adamw",
    defaults: {
      ...SHARED,
      learningRate: 8e-3,
      matrixLearningRate: 8e-3,
      warmupSteps: 50,
    },
  },
  /** Common for GPTs: a lower peak, warm-up, and cosine decay to a tenth. */
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

/** A run's complete optimizer. */
export type OptimizerConfig = OptimizerDefaults & { name: OptimizerName };

/** Fills in the defaults of its name; `matrixLearningRate` defaults to `learningRate` if AdamW updates matrices too. */
export function completeOptimizer(
  given: Partial<OptimizerConfig>,
): OptimizerConfig {
  const { name = "muon" } = given;
  const { matrices, defaults }: Optimizer = OPTIMIZERS[name];
  return overlaid({ name, ...defaults }, given, matrices === "adamw");
}

/** The previous run's optimizer with the given changes. */
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

/** Contradictions in `given`, and in the complete config of a run of `steps`. */
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
