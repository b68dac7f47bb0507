/**
 * A whole training trajectory against PyTorch's (test/fixtures/README.md): recipe f32, every size and
 * every hyper-parameter as the file's metadata says.
 */
import { describe, expect, it } from "vitest";
import { arena } from "../support/kernels-node.ts";
import { Golden } from "../support/golden.ts";
import { adamW, sumSquares } from "../../src/kernels/vector.ts";
import { logits, lossAndGradient } from "../support/model.ts";
import { parameterTable } from "../support/model.ts";

const golden = new Golden("gpt2-adamw.safetensors");
const number = (key: string) => golden.number(key);

const shape = {
  layers: number("n_layer"),
  width: number("n_embd"),
  heads: number("n_head"),
  context: number("n_ctx"),
  vocabulary: number("vocab"),
};
const sequences = number("batch");
const steps = number("steps");
const table = parameterTable(shape);
const allTokens = golden.i32("tokens"); // [steps, B, T]
const allTargets = golden.i32("targets");
const tokensOf = (all: Int32Array, step: number) =>
  all.subarray((step * all.length) / steps, ((step + 1) * all.length) / steps);

type Trajectory = {
  losses: number[];
  gradNorms: number[];
  /** Of step 0, before clipping. */
  gradient: Float32Array;
  logits: Float32Array;
  final: Float32Array;
};

const trajectory: Trajectory = arena.scope(() => {
  const { length } = table;
  const parameters = arena.copyIn(flatVector("init"));
  const gradient = arena.allocF32(length);
  const m = arena.allocZeroedF32(length);
  const v = arena.allocZeroedF32(length);
  const losses: number[] = [];
  const gradNorms: number[] = [];
  const firstLogits = logits(
    shape,
    "f32",
    parameters,
    tokensOf(allTokens, 0),
    sequences,
  );
  let firstGradient = new Float32Array(0);

  for (let step = 0; step < steps; step++) {
    const { lossSum, tokens } = lossAndGradient(
      shape,
      "f32",
      parameters,
      gradient,
      {
        sequences,
        tokens: tokensOf(allTokens, step),
        targets: tokensOf(allTargets, step),
      },
      { seed: 0, step, microbatch: 0 },
    );
    const gradNorm = Math.sqrt(sumSquares(gradient, length));
    losses.push(lossSum / tokens);
    gradNorms.push(gradNorm);
    if (step === 0) firstGradient = arena.f32(gradient, length).slice();

    for (const tensor of table.tensors) {
      const start = 4 * tensor.offset;
      adamW(
        parameters + start,
        m + start,
        v + start,
        gradient + start,
        tensor.length,
        {
          updates: step + 1,
          learningRate: number("lr"),
          beta1: number("beta1"),
          beta2: number("beta2"),
          epsilon: number("eps"),
          weightDecay: tensor.group === "vector" ? 0 : number("weight_decay"),
          gradientScale: Math.min(1, number("clip") / (gradNorm + 1e-6)),
        },
      );
    }
  }
  return {
    losses,
    gradNorms,
    gradient: firstGradient,
    logits: firstLogits,
    final: arena.f32(parameters, length).slice(),
  };
});

describe("recipe f32 follows PyTorch", () => {
  it("computes what the golden says it computed", () => {
    expect(number("ln_eps")).toBe(1e-5);
    expect(golden.metadata.get("gelu")).toBe("tanh");
    expect(golden.metadata.get("tied_head")).toBe("True");
    expect(golden.metadata.get("decay")).toBe("2-D tensors only");
  });

  it("has the golden's tensors, name by name and shape by shape", () => {
    const names = golden.names().filter((name) => name.startsWith("init."));
    expect(names.map((name) => name.slice("init.".length)).sort()).toEqual(
      table.tensors.map(({ name }) => name).sort(),
    );
    for (const tensor of table.tensors) {
      expect(golden.shape(`init.${tensor.name}`)).toEqual(tensor.shape);
    }
  });

  it("gives the logits of step 0", () => {
    const error = relativeError(trajectory.logits, golden.f32("logits.step0"));
    expect(error).toBeLessThan(1e-5);
  });

  it("gives every gradient of step 0 to 1e-5", () => {
    const errors = table.tensors.map(({ name, offset, length }) => ({
      name,
      error: relativeError(
        trajectory.gradient.subarray(offset, offset + length),
        golden.f32(`grad.step0.${name}`),
      ),
    }));
    expect(errors.filter(({ error }) => !(error <= 1e-5))).toEqual([]);
  });

  it("loses the same at every step, to 1e-5", () => {
    const want = golden.f64("loss");
    const errors = trajectory.losses.map((loss, i) => loss / want[i] - 1);
    expect(errors.length).toBe(steps);
    expect(errors.filter((error) => !(Math.abs(error) <= 1e-5))).toEqual([]);
  });

  it("has the same gradient norm at every step, to 5e-5", () => {
    const want = golden.f64("grad_norm");
    const errors = trajectory.gradNorms.map((norm, i) => norm / want[i] - 1);
    expect(errors.filter((error) => !(Math.abs(error) <= 5e-5))).toEqual([]);
  });

  // Softmax does not change when all keys move by the same vector, so the gradient of a key bias is
  // zero and AdamW amplifies the rounding errors that are left of it: that third is only bounded.
  it("ends at the same parameters", () => {
    const want = flatVector("final");
    const counted = trajectory.final.slice();
    const errors: { name: string; error: number }[] = [];
    for (const { name, offset, length } of table.tensors) {
      if (name.endsWith("attn.c_attn.bias")) {
        const keys = offset + shape.width;
        for (let i = keys; i < keys + shape.width; i++) {
          expect(Math.abs(trajectory.final[i])).toBeLessThanOrEqual(1e-4);
        }
        want.fill(0, keys, keys + shape.width);
        counted.fill(0, keys, keys + shape.width);
      }
      errors.push({
        name,
        error: relativeError(
          counted.subarray(offset, offset + length),
          want.subarray(offset, offset + length),
        ),
      });
    }
    expect(errors.filter(({ error }) => !(error <= 3e-4))).toEqual([]);
    expect(relativeError(counted, want)).toBeLessThanOrEqual(5e-5);
  });
});

/** The golden's tensors of one kind, laid out by the table. */
function flatVector(kind: "init" | "final"): Float32Array {
  const flat = new Float32Array(table.length);
  for (const { name, offset } of table.tensors) {
    flat.set(golden.f32(`${kind}.${name}`), offset);
  }
  return flat;
}

/** ‖got − want‖ / ‖want‖ */
function relativeError(got: Float32Array, want: Float32Array): number {
  expect(got.length).toBe(want.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    norm += want[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}
