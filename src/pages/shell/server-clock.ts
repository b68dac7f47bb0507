/** The server's time, with which times in its answers are compared: a browser's clock may be hours off. */

/** Of the header `Date`. */
const PRECISION_MS = 1_000;

/** By how much the server's clock is ahead of the browser's, within the bounds that answers have given. */
let aheadMs = 0;

/** `date`: the `Date` of an answer received now. `sentMs`: when the request was sent, by the browser's clock. */
export function hearTime(date: string | null, sentMs: number): void {
  const toldMs = Date.parse(date ?? "");
  if (Number.isNaN(toldMs)) return;
  // It was written between the request and now.
  const least = toldMs - Date.now();
  const most = toldMs + PRECISION_MS - sentMs;
  aheadMs = Math.min(Math.max(aheadMs, least), most);
}

/** In milliseconds since the epoch. */
export function serverNowMs(): number {
  return Date.now() + aheadMs;
}
