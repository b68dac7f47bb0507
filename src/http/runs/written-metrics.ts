/** A run's metrics as lines of JSON, or of CSV with a header line. */
import { CSV_HEADER, csvLine } from "../../api/metrics-csv.ts";
import type { StepMetrics } from "../../api/run-metrics.ts";

const PAGE = 500;

type Page = (fromStep: number, limit: number) => Promise<StepMetrics[]>;

/** The lines and their length in bytes. */
export type WrittenMetrics = {
  bytes: number;
  chunks: AsyncGenerator<Uint8Array>;
};

/**
 * The lines of all steps so far. They are generated twice, first to count bytes: a client detects a broken stream only
 * by the declared length.
 */
export async function writtenMetrics(
  isCsv: boolean,
  page: Page,
): Promise<WrittenMetrics> {
  const header = isCsv ? encode([CSV_HEADER]) : new Uint8Array();
  const write = (metrics: readonly StepMetrics[]): Uint8Array =>
    encode(metrics.map(isCsv ? csvLine : (each) => JSON.stringify(each)));
  const first = await page(0, PAGE);
  const later: { fromStep: number; steps: number }[] = [];
  let bytes = header.length + write(first).length;
  for (let last = first; last.length === PAGE;) {
    const fromStep = last.at(-1)!.step + 1;
    last = await page(fromStep, PAGE);
    later.push({ fromStep, steps: last.length });
    bytes += write(last).length;
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield header;
    yield write(first);
    for (const { fromStep, steps } of later)
      yield write(await page(fromStep, steps));
  }
  return { bytes, chunks: chunks() };
}

function encode(lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
}
