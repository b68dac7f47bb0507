/** Rows of a stored tensor, a megabyte at a time, but for whole rows. */

const WINDOW_BYTES = 1 << 20;
/** Rows together: whole panels, and of columns whole blocks. */
const STEP = 32;

/** `read` of rows [first, end) and so on; one is read ahead. */
export async function* windows<Window>(
  rows: number,
  rowBytes: number,
  read: (first: number, end: number) => Promise<Window>,
): AsyncGenerator<Window> {
  const together = Math.max(1, Math.floor(WINDOW_BYTES / rowBytes / STEP)) * STEP; // prettier-ignore
  const from = (first: number): Promise<Window> | undefined => {
    if (first >= rows) return undefined;
    const window = read(first, Math.min(first + together, rows));
    // Awaited in its turn; it may fail before.
    window.catch(() => {});
    return window;
  };
  let next = from(0);
  for (let first = 0; next;) {
    const window = await next;
    first += together;
    next = from(first);
    yield window;
  }
}
