/**
 * A step where all share one machine, played by the rules of trainers and runs (training/trainer.ts,
 * objects/run/step-leases.ts).
 */
import { PlayedMachine, type Strand } from "./played-machine.ts";
import {
  type Constants,
  costOf,
  type ModelCosts,
  pulledOver,
  type Setting,
  travel,
} from "./model.ts";

/** Seconds of a step on `cores` cores. */
export function nearStep(
  costs: ModelCosts,
  constants: Constants,
  setting: Setting,
  cores: number,
): number {
  const { trainers, shards, microbatches } = setting;
  const { commit, lag } = constants;
  const step = new Step(costs, constants, setting);
  const machine = new PlayedMachine(cores);
  for (let index = 0; index < trainers; index++)
    machine.start(step.trainer((strand) => machine.start(strand)));
  return (
    machine.play(() => step.isOver) +
    (trainers > 1 ? lag * costs.compute : 0) +
    costs.update +
    costs.again +
    microbatches * costs.reduce +
    commit.once +
    shards * commit.shard
  );
}

/** A trainer's leases but for the one whose result it sends, and whether it sends one. */
type Own = { held: number; isSending: boolean };

class Step {
  readonly #costs: ModelCosts;
  readonly #constants: Constants;
  readonly #setting: Setting;
  /** Microbatches that nobody has, and those that are not completed. */
  #open: number;
  #missing: number;
  /** Trainers that hold no lease. */
  #idle: number;

  constructor(costs: ModelCosts, constants: Constants, setting: Setting) {
    this.#costs = costs;
    this.#constants = constants;
    this.#setting = setting;
    this.#open = this.#missing = setting.microbatches;
    this.#idle = setting.trainers;
  }

  get isOver(): boolean {
    return this.#missing === 0;
  }

  *trainer(start: (strand: Strand) => void): Strand {
    const { link, shards } = this.#setting;
    const { ask, pull } = this.#constants;
    const { compute, pack, pulledBytes } = this.#costs;
    yield* this.#request(ask, link.roundTrip);
    if (this.#open === 0) return;
    this.#open--;
    this.#idle--;
    const own = { held: 1 + this.#takeAhead(), isSending: false };
    yield* this.#request(
      costOf(pull, pulledBytes, shards),
      pulledOver(link, this.#costs, this.#constants),
    );
    yield { of: "core", seconds: pack };
    do {
      yield { of: "core", seconds: compute };
      own.held--;
      yield { until: () => !own.isSending };
      start(this.#delivery(own));
      yield { until: () => own.held > 0 || !own.isSending };
    } while (own.held > 0);
  }

  /** Of a push and the completion, whose answer has a lease if there is one to give. */
  *#delivery(own: Own): Strand {
    const { link, shards } = this.#setting;
    const { ask, push } = this.#constants;
    const { pushedBytes } = this.#costs;
    own.isSending = true;
    yield* this.#request(
      costOf(push, pushedBytes, shards) + ask,
      travel(link, pushedBytes) + link.roundTrip,
    );
    own.isSending = false;
    this.#missing--;
    if (own.held > 0) own.held += this.#takeAhead();
    else if (this.#open > 0) {
      this.#open--;
      own.held++;
    }
  }

  /** 1 if a microbatch is open that none of the idle trainers will have. */
  #takeAhead(): number {
    if (this.#open <= this.#idle) return 0;
    this.#open--;
    return 1;
  }

  /** Of `seconds`, the trainer's, the edge's, and the rest; and of the link. */
  *#request(seconds: number, over: number): Strand {
    const { edge, trainer } = this.#constants.shares;
    yield { of: "core", seconds: trainer * seconds };
    yield { of: "edge", seconds: edge * seconds };
    yield { of: "time", seconds: (1 - edge - trainer) * seconds + over };
  }
}
