/** What keeps readers out of a page: what axe finds, and what is wider than its screen. */
import { source as axe } from "axe-core";
import type { Page } from "playwright-core";

/** Off unless told, though WCAG 2.2 asks for it. */
const OPTIONS = JSON.stringify({ rules: { "target-size": { enabled: true } } });
const PHONE = { width: 320, height: 800 };
export const DESK = { width: 1280, height: 1000 };

/** A page that tells into `said` all that it should not say: on the console, and of others than `own`. */
export function listened(made: Page, own: string, said: string[]): Page {
  made.on("console", (message) => said.push(message.text()));
  made.on("pageerror", ({ message }) => said.push(message));
  made.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(own) && !/^(blob|data):/.test(url)) said.push(url);
  });
  return made;
}

/** What axe complains of in parts of a page, in light and dark; and what is wider than its page, on a desk and a phone. */
export async function faultsOf(
  shown: Page,
  parts: readonly string[] = ["html"],
): Promise<string[]> {
  const faults: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await shown.emulateMedia({ colorScheme });
    for (const size of [PHONE, DESK]) {
      await shown.setViewportSize(size);
      const wider = await shown.evaluate<number>(
        "document.documentElement.scrollWidth - innerWidth",
      );
      if (wider > 0) faults.push(`${wider} px too wide at ${size.width}`);
    }
    await shown.evaluate(axe);
    const found = await shown.evaluate<string[]>(
      `axe.run({ include: ${JSON.stringify(parts)} }, ${OPTIONS}).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`,
    );
    faults.push(...found.map((fault) => `${colorScheme} ${fault}`));
  }
  return faults;
}
