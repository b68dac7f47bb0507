/** Answers with a conversion: streamed, its length known from the start. */
import type { Context } from "hono";
import { AppError } from "../../api/errors.ts";
import { concatenate } from "../../formats/stream/bytes.ts";
import type { FileOperation } from "../../api/tensors.ts";
import { planFile } from "../../formats/operations/file-operation.ts";
import {
  KeptValues,
  valuesOf,
} from "../../formats/operations/nonfinite-values.ts";
import { type Conversion, run } from "../../formats/stream/conversion.ts";
import type { TensorFile } from "../../formats/containers/container.ts";
import type { RawHead } from "../../formats/containers/containers.ts";
import { isolateMemory, type Reservation } from "../../memory/ledger.ts";
import { type BodySource, openTensors } from "./tensor-body.ts";

/** Answers up to this size are completed before they are sent, so that a bad body still gets its 4xx. */
const SMALL_BYTES = 256 * 1024;
/** Memory of a running conversion: a piece of the body and one of the answer, of 64 Ki elements each. */
export const PIECES_BYTES = 1024 * 1024;

/**
 * Answers with the result of an operation on the body; `raw` describes a raw body. `waitUntil` keeps the request alive
 * until everything is written or the client has disconnected: otherwise it would end with its client, and its
 * reservation would be held until it expires. Errors: those of the body and the plan; once the answer has begun, it
 * breaks off instead
 */
export async function answerOperation(
  c: Context,
  request: FileOperation,
  raw?: RawHead,
): Promise<Response> {
  const body = await openTensors(c, raw);
  const { source } = body;
  let reservation: Reservation | undefined;
  try {
    const { conversion, isSmall, headOf } = body.plan((file) =>
      planAnswer(file, request, body.bytes),
    );
    const { heldBytes } = conversion;
    const bytes = heldBytes + (isSmall ? 0 : PIECES_BYTES);
    reservation = await isolateMemory.reserve(bytes);
    if (!isSmall)
      return stream(c.executionCtx, conversion, source, reservation);
    const answer = await collect(conversion, source, headOf);
    reservation.release();
    return binary(answer, answer.length);
  } catch (error) {
    reservation?.release();
    source.leave();
    throw error;
  }
}

type PlannedAnswer = {
  conversion: Conversion;
  isSmall: boolean;
  /** The final header, if it depends on the data; undefined if unchanged. */
  headOf?: () => Uint8Array | undefined;
};

/**
 * With `nonfinite=keep`, a small answer records which values were kept; a streamed one cannot, since its header
 * precedes the data.
 */
function planAnswer(
  file: TensorFile,
  request: FileOperation,
  bodyBytes: number,
): PlannedAnswer {
  const kept = new KeptValues();
  const values = valuesOf(request.options?.nonfinite, kept);
  const conversion = planFile(file, request, values);
  const isSmall = Math.max(conversion.totalBytes, bodyBytes) <= SMALL_BYTES;
  if (!isSmall || values.record === undefined) return { conversion, isSmall };
  const headOf = () => planFile(file, request, { record: kept.record }).head;
  return { conversion, isSmall, headOf };
}

async function collect(
  conversion: Conversion,
  source: BodySource,
  headOf: PlannedAnswer["headOf"],
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  // A chunk may be a view of the source's buffer, which the next piece overwrites.
  for await (const chunk of run(conversion, source)) chunks.push(chunk.slice());
  await source.expectEnd();
  const head = headOf?.();
  const whole = concatenate(conversion.totalBytes, chunks);
  if (!head) return whole;
  const data = whole.subarray(conversion.head.length);
  return concatenate(head.length + data.length, [head, data]);
}

function stream(
  until: Pick<ExecutionContext, "waitUntil">,
  conversion: Conversion,
  source: BodySource,
  reservation: Reservation,
): Response {
  const { totalBytes } = conversion;
  const { readable, writable } = new FixedLengthStream(totalBytes);
  const writer = writable.getWriter();
  until.waitUntil(pump(conversion, source, writer, reservation));
  return binary(readable, totalBytes);
}

/** Each write waits for the reader, so the body is read no faster than the answer is sent. */
async function pump(
  conversion: Conversion,
  source: BodySource,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  reservation: Reservation,
): Promise<void> {
  // Failures are reported by the writes.
  writer.closed.catch(() => {});
  try {
    for await (const chunk of run(conversion, source)) {
      await writer.write(chunk);
      reservation.touch();
    }
    await source.expectEnd();
    await writer.close();
  } catch (error) {
    // The body broke off or the client disconnected: the answer must not look complete.
    if (error instanceof AppError) console.warn(error.message);
    await Promise.allSettled([source.cancel(error), writer.abort(error)]);
  } finally {
    reservation.release();
  }
}

export function binary(body: BodyInit, bytes: number): Response {
  return new Response(body, {
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": `${bytes}`,
      "X-Content-Type-Options": "nosniff",
    },
  });
}
