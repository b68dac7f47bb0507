/**
 * A run's metrics as a TensorBoard event file: records of protobuf `Event` (event.proto). The first has the version;
 * each other is a step, with a `Summary` of named floats.
 */
import type { StepMetrics } from "../../api/run-metrics.ts";
import { double, float, message, text, varint } from "./protobuf.ts";
import { record } from "./records.ts";

const VERSION = "brain.Event:2";

/** Field numbers of `Event`, `Summary` and `Summary.Value`. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 };
const SUMMARY = { value: 1 };
const VALUE = { tag: 1, simpleValue: 2 };

/** By TensorBoard's tag; the part before the slash groups charts. */
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

/** TensorBoard recognizes event files by this name; their folder is the run. */
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

/** Commit time of the first step, in seconds; so a run always gives the same file. */
function beginOf([first]: readonly StepMetrics[]): number {
  return (first?.committedMs ?? 0) / 1000;
}
