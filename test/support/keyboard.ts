/** A reader without a mouse: Tab until a place is reached, each stop on the way seen. */
import type { Page } from "playwright-core";

/** More than any page has before its end. */
const MOST_STOPS = 400;

type Stop = { name: string; isSeen: boolean; isInside: boolean };

/** What has the focus: by what it is called, whether a ring is around it, and whether it lies on the screen. */
const STOP = `(() => {
  const own = document.activeElement;
  if (own === document.body) return { name: "", isSeen: true, isInside: true };
  const { outlineStyle, outlineWidth } = getComputedStyle(own);
  const { top, bottom, left, right } = own.getBoundingClientRect();
  const labels = [...(own.labels ?? [])].map((label) => label.innerText);
  const name = own.getAttribute("aria-label") ?? (labels.join(" ") || own.innerText || own.title || own.name || own.tagName);
  return {
    name: name.replace(/\\s+/g, " ").trim(),
    isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) > 0,
    isInside: bottom > 0 && top < innerHeight && right > 0 && left < innerWidth,
  };
})()`;

/** Press Tab until what is called `name` has the focus. Errors: a stop without a ring, or off the screen; no such stop */
export async function tabTo(page: Page, name: RegExp): Promise<void> {
  const passed: string[] = [];
  for (let i = 0; i < MOST_STOPS; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate<Stop>(STOP);
    passed.push(stop.name.slice(0, 40));
    if (!stop.isSeen || !stop.isInside)
      throw new Error(
        `Expected each stop with a ring on the screen, got ${JSON.stringify(stop)} behind ${passed.slice(-4).join(" > ")}`,
      );
    if (name.test(stop.name)) return;
    // Behind the last one the page begins anew.
    if (stop.name === "" && i > 0) break;
  }
  throw new Error(
    `Expected a stop called ${name}, got ${passed.join(" > ").slice(-2000)}`,
  );
}

/** Tab to it, and press Enter. */
export async function enterAt(page: Page, name: RegExp): Promise<void> {
  await tabTo(page, name);
  await page.keyboard.press("Enter");
}

/** Tab to a field, and type over what is in it. */
export async function typeAt(
  page: Page,
  name: RegExp,
  text: string,
): Promise<void> {
  await tabTo(page, name);
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type(text);
}
