/** A conversion as an answer: streamed, with its length known from the start. */
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

/** Answers up to this size are made before they begin, so that a bad body still gets its 4xx. */
const SMALL_BYTES = 256 * 1024;
/** What a conversion works on: a piece of the body and one of the answer, of 64 Ki elements each. */
export const PIECES_BYTES = 1024 * 1024;

/**
 * What an operation makes of a request's body, which is raw where `raw` says of what. The request lasts until all is
 * written, or its reader has left: else it would end with its reader, and what it has reserved would be held until it
 * counts as dead.
 * Errors: those of the body and of the plan; once the answer has begun, it breaks off instead
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
  /** Another head, once it is known what the data has; undefined where it stays. */
  headOf?: () => Uint8Array | undefined;
};

/** Of values that are kept, a small answer tells which, and one that has begun before they came does not. */
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
  // A chunk may view the source's buffer, which the next piece overwrites.
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

/** Each write waits until it is read, so the body comes in no faster than the answer goes out. */
async function pump(
  conversion: Conversion,
  source: BodySource,
  writer: WritableStreamDefaultWriter<Uint8Array>,
  reservation: Reservation,
): Promise<void> {
  // The writes tell of it.
  writer.closed.catch(() => {});
  try {
    for await (const chunk of run(conversion, source)) {
      await writer.write(chunk);
      reservation.touch();
    }
    await source.expectEnd();
    await writer.close();
  } catch (error) {
    // A body that broke off, or a client that left: neither answer may look complete.
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
