/** Bodies whose error tells why they broke off, if the edge knows; the connection itself gives no reason. */
import { AppError, PROBLEMS } from "../api/errors.ts";
import { answerPieces } from "./broken-off.ts";
import type { Http } from "./http.ts";

const SERVER_ERROR = 500;

/**
 * Wraps `answer`, the response to a GET of `path`. If its body breaks off, its Content-Location is requested once:
 * reading fails with the error of that request, such as `step_gone` after a rewind, or else with `BrokenOff`.
 */
export function withReason(
  http: Http,
  path: string,
  answer: Response,
): Response {
  const { status, statusText, headers } = answer;
  const pieces = answerPieces(answer);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const piece = await pieces.next().catch(async (error: unknown) => {
        throw (await refusal(http, path, headers)) ?? error;
      });
      if (piece) controller.enqueue(piece);
      else controller.close();
    },
    cancel: (reason) => pieces.cancel(reason),
  });
  return new Response(body, { status, statusText, headers });
}

/** Why the content is no longer available; undefined if it is, or if nobody answers. */
async function refusal(
  http: Http,
  path: string,
  headers: Headers,
): Promise<AppError | undefined> {
  const [, query] = headers.get("Content-Location")?.split("?") ?? [];
  if (query === undefined) return undefined;
  try {
    const answer = await http.request("GET", `${path}?${query}`, {
      isOnce: true,
    });
    await answer.body?.cancel();
  } catch (error) {
    const isRefused =
      error instanceof AppError && PROBLEMS[error.code][0] < SERVER_ERROR;
    if (isRefused) return error;
  }
  return undefined;
}
