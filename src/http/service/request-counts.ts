/**
 * Counters of this isolate's answers, in the text format of Prometheus. The platform starts and ends isolates at will:
 * each counts for itself, from its start.
 */

/** Seconds until an answer begins. */
const BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

export type Answered = {
  method: string;
  /** As declared, or `none` if there is no such route. */
  route: string;
  status: number;
  seconds: number;
  /** Bytes of the bodies; null without Content-Length. */
  receivedBytes: number | null;
  sentBytes: number | null;
};

type Labels = Record<string, string | number>;

export class RequestCounts {
  readonly #requests = new Map<string, number>();
  /** By route: cumulative counts per bucket, the last of all answers; and the sum of seconds. */
  readonly #durations = new Map<string, { counts: number[]; sum: number }>();
  readonly #receivedBytes = new Map<string, number>();
  readonly #sentBytes = new Map<string, number>();

  add(answered: Answered): void {
    const { method, status, seconds, receivedBytes, sentBytes } = answered;
    const route = { route: answered.route, method };
    increase(this.#requests, labelled({ ...route, status }), 1);
    increase(this.#receivedBytes, labelled(route), receivedBytes ?? 0);
    increase(this.#sentBytes, labelled(route), sentBytes ?? 0);
    const key = labelled(route);
    const duration = this.#durations.get(key) ?? {
      counts: Array.from({ length: BUCKETS.length + 1 }, () => 0),
      sum: 0,
    };
    this.#durations.set(key, duration);
    duration.sum += seconds;
    [...BUCKETS, Infinity].forEach((end, i) => {
      if (seconds <= end) duration.counts[i]!++;
    });
  }

  /** All metrics as lines. */
  lines(): string[] {
    return [
      ...family(
        "requests_total",
        "counter",
        "Requests answered",
        this.#requests,
      ),
      ...head(
        "request_duration_seconds",
        "histogram",
        "Until the answer began; its body may take longer",
      ),
      ...[...this.#durations].flatMap(([key, { counts, sum }]) => {
        const name = "mxfp4_edge_request_duration_seconds";
        const buckets = counts.map((count, i) => {
          const end = BUCKETS[i] ?? "+Inf";
          return `${name}_bucket{${key},le="${end}"} ${count}`;
        });
        return [
          ...buckets,
          `${name}_sum{${key}} ${sum}`,
          `${name}_count{${key}} ${counts.at(-1)!}`,
        ];
      }),
      ...family(
        "received_bytes_total",
        "counter",
        "Bytes of bodies that came with Content-Length",
        this.#receivedBytes,
      ),
      ...family(
        "sent_bytes_total",
        "counter",
        "Bytes of answers whose length was known when they began",
        this.#sentBytes,
      ),
    ];
  }
}

/** A metric from its values by labels. */
export function family(
  name: string,
  type: "counter" | "gauge",
  help: string,
  values: Iterable<[labels: string, value: number]>,
): string[] {
  const lines = Array.from(values, ([labels, value]) =>
    labels === ""
      ? `mxfp4_edge_${name} ${value}`
      : `mxfp4_edge_${name}{${labels}} ${value}`,
  );
  return [...head(name, type, help), ...lines];
}

/** `state="running",…`, escaped as the format requires. */
export function labelled(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => {
      const text = String(value).replace(/[\\"\n]/g, (c) =>
        c === "\n" ? "\\n" : `\\${c}`,
      );
      return `${name}="${text}"`;
    })
    .join(",");
}

function head(name: string, type: string, help: string): string[] {
  return [
    `# HELP mxfp4_edge_${name} ${help}`,
    `# TYPE mxfp4_edge_${name} ${type}`,
  ];
}

function increase(counts: Map<string, number>, key: string, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}

/** For all requests to this isolate. */
export const requestCounts = new RequestCounts();
