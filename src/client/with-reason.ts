/** A body that says why it broke off, where its edge knows: the connection itself bears no reason. */
import { AppError, PROBLEMS } from "../api/errors.ts";
import { answerPieces } from "./broken-off.ts";
import type { Http } from "./http.ts";

const SERVER_ERROR = 500;

/**
 * `answer` to a GET of `path`. If its body breaks off, what it was of is asked for once more, by its Content-Location:
 * reading fails with the refusal that comes, as `step_gone` where the run was rewound, or with `BrokenOff` where none does.
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

/** Why there is no such answer any longer; undefined where there is one, or nobody to ask. */
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
