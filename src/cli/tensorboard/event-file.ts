/**
 * A run's history as TensorBoard reads it: records, each a protobuf `Event` of `event.proto`. The first says which
 * version the others have; each of them is a step, with a `Summary` of named floats.
 */
import type { StepMetrics } from "../../api/run-metrics.ts";
import { double, float, message, text, varint } from "./protobuf.ts";
import { record } from "./records.ts";

const VERSION = "brain.Event:2";

/** Fields of `Event`, `Summary` and `Summary.Value`. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 };
const SUMMARY = { value: 1 };
const VALUE = { tag: 1, simpleValue: 2 };

/** By the tag that TensorBoard shows; what stands before the slash is the group of its charts. */
const TAGS = {
  "loss/train": (each) => each.trainLoss,
  "loss/validation": (each) => each.valLoss,
  "nats_per_byte/train": (each) => each.trainNatsPerByte,
  "nats_per_byte/validation": (each) => each.valNatsPerByte,
  "step/gradient_norm": (each) => each.gradNorm,
  "step/learning_rate": (each) => each.learningRate,
  "step/tokens": (each) => each.tokens,
  "phases/lease_ms": ({ phases }) => phases?.leaseMs,
  "phases/pull_ms": ({ phases }) => phases?.pullMs,
  "phases/compute_ms": ({ phases }) => phases?.computeMs,
  "phases/push_ms": ({ phases }) => phases?.pushMs,
  "phases/commit_ms": ({ phases }) => phases?.commitMs,
  "phases/pulled_bytes": ({ phases }) => phases?.pulledBytes,
  "phases/pushed_bytes": ({ phases }) => phases?.pushedBytes,
} satisfies Record<string, (each: StepMetrics) => number | null | undefined>;

/** A file of them is known by this name, in a folder that is named as the run. */
export function eventFileName(metrics: readonly StepMetrics[]): string {
  return `events.out.tfevents.${Math.floor(beginOf(metrics)).toString().padStart(10, "0")}.mxfp4-edge`;
}

export function* eventFile(
  metrics: readonly StepMetrics[],
): Generator<Uint8Array> {
  yield record(
    message([
      double(EVENT.wallTime, beginOf(metrics)),
      text(EVENT.fileVersion, VERSION),
    ]),
  );
  for (const each of metrics) {
    const values = Object.entries(TAGS).flatMap(([tag, of]) => {
      const value = of(each);
      if (value === null || value === undefined) return [];
      const fields = [text(VALUE.tag, tag), float(VALUE.simpleValue, value)];
      return [{ field: SUMMARY.value, bytes: message(fields) }];
    });
    yield record(
      message([
        double(EVENT.wallTime, each.committedMs / 1000),
        varint(EVENT.step, each.step),
        { field: EVENT.summary, bytes: message(values) },
      ]),
    );
  }
}

/** When the first step was committed, in seconds; so the same run has the same file. */
function beginOf([first]: readonly StepMetrics[]): number {
  return (first?.committedMs ?? 0) / 1000;
}
