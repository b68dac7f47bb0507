/** `runs export`: tables and lines as the API has them, and event files, read by the definitions of their formats. */
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StepMetrics } from "../../src/api/run-metrics.ts";
import { type Field, fields } from "../judges/protobuf.ts";

const COMMAND = resolve(import.meta.dirname, "../../src/cli/main.ts");

/** With what there is none of, numbers that no float holds, and a step that takes two bytes. */
const HISTORY: StepMetrics[] = [0, 1, 300].map((step) => ({
  step,
  trainLoss: step === 300 ? null : 5.532064429319222 - step,
  gradNorm: step === 300 ? null : 1e-7,
  learningRate: 0.03,
  tokens: 128 * (step + 1),
  valLoss: step === 0 ? null : 4.185830917035174,
  committedMs: 1_795_740_473_142 + 1000 * step,
  trainNatsPerByte: step === 300 ? null : 1.5,
  valNatsPerByte: null,
  results: step === 300 ? null : "ab".repeat(32),
  chain: null,
  phases:
    step === 1
      ? {
          leaseMs: 1,
          pullMs: 2,
          computeMs: 30.5,
          pushMs: 4,
          commitMs: null,
          pulledBytes: 5,
          pushedBytes: 6,
        }
      : null,
}));

let folder: string;
let kept: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-export-test-"));
  kept = join(folder, "a-run");
  mkdirSync(kept);
  const lines = HISTORY.map((each) => `${JSON.stringify(each)}\n`);
  writeFileSync(join(kept, "metrics.jsonl"), lines.join(""));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function exported(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [COMMAND, "runs", "export", ...args],
    { cwd: folder, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stdout, stderr };
}

test("CSV has a line a step, and nothing where there is no value", () => {
  const { status, stdout } = exported("a-run");
  expect(status).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "step,trainLoss,gradNorm,learningRate,tokens,valLoss,committedMs,trainNatsPerByte,valNatsPerByte,results,chain,leaseMs,pullMs,computeMs,pushMs,commitMs,pulledBytes,pushedBytes",
    `0,5.532064429319222,1e-7,0.03,128,,1795740473142,1.5,,${"ab".repeat(32)},,,,,,,,`,
    `1,4.532064429319222,1e-7,0.03,256,4.185830917035174,1795740474142,1.5,,${"ab".repeat(32)},,1,2,30.5,4,,5,6`,
    "300,,,0.03,38528,4.185830917035174,1795740773142,,,,,,,,,,,",
    "",
  ]);
});

test("JSON lines are what was kept, into a file that is not overwritten unasked", () => {
  const args = ["a-run/metrics.jsonl", "--format", "jsonl", "-o", "out.jsonl"];
  const { status, stdout } = exported(...args, "--json");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ run: "a-run", steps: 3 });
  const written = readFileSync(join(folder, "out.jsonl"));
  expect(written).toEqual(readFileSync(join(kept, "metrics.jsonl")));
  expect(exported(...args)).toMatchObject({ status: 1 });
  expect(exported(...args, "--force")).toMatchObject({ status: 0 });
});

describe("for TensorBoard", () => {
  type Value = { tag: string; value: number };
  type Event = {
    wallTime: number;
    step: number;
    version: string;
    values: Value[];
  };
  let events: Event[];

  beforeAll(() => {
    const told = exported("a-run", "--format", "tensorboard", "-o", "logs");
    expect(told).toMatchObject({ status: 0, stdout: "" });
    const [name, ...others] = readdirSync(join(folder, "logs/a-run"));
    expect(others).toEqual([]);
    expect(name).toMatch(/^events\.out\.tfevents\.1795740473\./);
    const file = readFileSync(join(folder, "logs/a-run", name!));
    events = records(file).map(eventOf);
  });

  test("the file says its version, then has an event a step at its time", () => {
    expect(events[0]).toMatchObject({ version: "brain.Event:2", values: [] });
    const steps = events.slice(1);
    expect(steps.map(({ step }) => step)).toEqual([0, 1, 300]);
    expect(steps.map(({ wallTime }) => 1000 * wallTime)).toEqual(
      HISTORY.map(({ committedMs }) => committedMs),
    );
  });

  test("each value has its tag, as the float that is nearest; what there is none of has none", () => {
    const near = (tag: string, value: number) => ({
      tag,
      value: Math.fround(value),
    });
    expect(events[1]!.values).toEqual([
      near("loss/train", 5.532064429319222),
      near("nats_per_byte/train", 1.5),
      near("step/gradient_norm", 1e-7),
      near("step/learning_rate", 0.03),
      near("step/tokens", 128),
    ]);
    expect(events[2]!.values.slice(-6)).toEqual([
      near("phases/lease_ms", 1),
      near("phases/pull_ms", 2),
      near("phases/compute_ms", 30.5),
      near("phases/push_ms", 4),
      near("phases/pulled_bytes", 5),
      near("phases/pushed_bytes", 6),
    ]);
    expect(events[3]!.values).toEqual([
      near("loss/validation", 4.185830917035174),
      near("step/learning_rate", 0.03),
      near("step/tokens", 38528),
    ]);
  });

  /** Frames of a TFRecord file; both checksums of each are checked. */
  function records(file: Buffer): Uint8Array[] {
    const found: Uint8Array[] = [];
    for (let at = 0; at < file.length;) {
      const length = Number(file.readBigUInt64LE(at));
      const data = file.subarray(at + 12, at + 12 + length);
      expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)));
      expect(file.readUInt32LE(at + 12 + length)).toBe(masked(data));
      found.push(data);
      at += length + 16;
    }
    return found;
  }

  /** Rotated right by 15 bits, plus a constant, in whole numbers that do not overflow. */
  function masked(bytes: Uint8Array): number {
    const crc = crc32c(bytes);
    const rotated = Math.floor(crc / 2 ** 15) + (crc % 2 ** 15) * 2 ** 17;
    return (rotated + 0xa282ead8) % 2 ** 32;
  }

  test("the twin's checksum is that of RFC 3720", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(
      0x46dd794e,
    );
  });
});

/** Division of polynomials, highest power first: 0x11edc6f41 reflected at both ends. */
function crc32c(bytes: Uint8Array): number {
  let bits = 0xffffffffn;
  for (const byte of bytes) {
    bits ^= BigInt(reversed(byte, 8)) << 24n;
    for (let i = 0; i < 8; i++) {
      bits <<= 1n;
      if (bits >> 32n) bits ^= 0x11edc6f41n;
    }
  }
  return reversed(Number(bits ^ 0xffffffffn), 32);
}

function reversed(value: number, width: number): number {
  const digits = value.toString(2).padStart(width, "0").split("");
  return Number.parseInt(digits.toReversed().join(""), 2);
}

function eventOf(data: Uint8Array) {
  const event = fields(data);
  const bytesOf = (of: readonly Field[], field: number) =>
    of.find((each) => each.field === field)?.bytes;
  const textIn = (of: readonly Field[], field: number) =>
    new TextDecoder().decode(bytesOf(of, field));
  const values = fields(bytesOf(event, 5) ?? new Uint8Array()).map((each) => {
    expect(each.field).toBe(1);
    const value = fields(each.bytes);
    return {
      tag: textIn(value, 1),
      value: Buffer.from(bytesOf(value, 2)!).readFloatLE(),
    };
  });
  return {
    wallTime: Buffer.from(bytesOf(event, 1)!).readDoubleLE(),
    step: event.find(({ field }) => field === 2)?.value ?? 0,
    version: textIn(event, 3),
    values,
  };
}

test.each(["csv", "jsonl", "tensorboard"])(
  "of a run without a step there is no %s, not even an empty one",
  (format) => {
    const own = join(folder, "young");
    mkdirSync(own, { recursive: true });
    writeFileSync(join(own, "metrics.jsonl"), "");
    for (const output of [
      ["-o", "young.out"],
      ["-o", "-"],
    ]) {
      if (format === "tensorboard" && output[1] === "-") continue;
      const { status, stdout, stderr } = exported(
        "young",
        "--format",
        format,
        ...output,
      );
      expect(stderr).toBe(
        "Expected a run with a committed step, got young, which has none yet\n",
      );
      expect([status, stdout]).toEqual([1, ""]);
    }
    expect(readdirSync(folder)).not.toContain("young.out");
  },
);

test.each([
  [
    ["a-run", "--format", "tensorboard"],
    2,
    "Expected --output to name a folder",
  ],
  [["a-run", "--format", "xml"], 2, "xml"],
  [["no/such/../../a-run", "--frmat", "csv"], 2, "got --frmat"],
  [["empty"], 1, "a folder with metrics.jsonl, got empty"],
  [["no-json.txt"], 1, 'got "to and fro" on line 1'],
  [["a-run", "-o", "x.jsonl"], 2, "; --format jsonl writes JSON lines"],
  [["a-run", "-o", "no/such/out.csv"], 1, "Expected a writable folder"],
] as const)("%j is refused", (args, code, message) => {
  mkdirSync(join(folder, "empty"), { recursive: true });
  writeFileSync(join(folder, "no-json.txt"), "to and fro\n");
  const { status, stdout, stderr } = exported(...args);
  expect(stdout).toBe("");
  expect(stderr).toContain(message);
  expect(status).toBe(code);
});
