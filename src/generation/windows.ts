/** Reads a stored tensor's rows in windows of a megabyte, rounded to whole rows. */

const WINDOW_BYTES = 1 << 20;
/** Windows are multiples of this many rows: whole panels, and whole blocks if rows are columns of the matrix. */
const STEP = 32;

/** Yields the windows that `read` returns for rows [first, end), reading one ahead. */
export async function* windows<Window>(
  rows: number,
  rowBytes: number,
  read: (first: number, end: number) => Promise<Window>,
): AsyncGenerator<Window> {
  const together =
    Math.max(1, Math.floor(WINDOW_BYTES / rowBytes / STEP)) * STEP;
  const from = (first: number): Promise<Window> | undefined => {
    if (first >= rows) return undefined;
    const window = read(first, Math.min(first + together, rows));
    // It is awaited later; this prevents an unhandled rejection.
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
