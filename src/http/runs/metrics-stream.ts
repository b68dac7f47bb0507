/** A run's metrics as lines: JSON, or CSV with a header line. */
import { CSV_HEADER, csvLine } from "../../api/metrics-csv.ts";
import type { StepMetrics } from "../../api/run-metrics.ts";

const PAGE = 500;
/** The lines of all pages; what refuses the first is thrown before the stream begins. */
export async function metricsStream(
  isCsv: boolean,
  page: (fromStep: number, limit: number) => Promise<StepMetrics[]>,
): Promise<ReadableStream<Uint8Array>> {
  const pages = pagesFrom(await page(0, PAGE), (step) => page(step, PAGE));
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      if (isCsv) controller.enqueue(encoder.encode(`${CSV_HEADER}\n`));
    },
    async pull(controller) {
      const { value, done } = await pages.next();
      if (done) {
        controller.close();
        return;
      }
      const lines = value.map((metrics) =>
        isCsv ? csvLine(metrics) : JSON.stringify(metrics),
      );
      controller.enqueue(encoder.encode(`${lines.join("\n")}\n`));
    },
  });
}

async function* pagesFrom(
  first: StepMetrics[],
  next: (fromStep: number) => Promise<StepMetrics[]>,
): AsyncGenerator<StepMetrics[]> {
  for (let page = first; page.length > 0;) {
    yield page;
    page = await next(page.at(-1)!.step + 1);
  }
}
