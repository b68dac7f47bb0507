import { AppError } from "../../api/errors.ts";
import { withDefaults } from "../../api/option-kinds.ts";
import { GEMM_OPTIONS } from "../../api/options.ts";
import { withoutGguf } from "../../formats/containers/container.ts";
import { writeHead } from "../../formats/containers/safetensors-writer.ts";
import { multiplyFile } from "../../formats/operations/gemm-file.ts";
import { free } from "../../memory/free.ts";
import { isolateMemory, type Reservation } from "../../memory/ledger.ts";
import { SharedBytes } from "../../memory/shared-bytes.ts";
import { route } from "../declaration/route.ts";
import { binary } from "./tensor-answer.ts";
import { openTensors } from "./tensor-body.ts";
import { exampleOperands, TENSOR_ERRORS } from "./tensor-descriptions.ts";

const MAX_BODY_BYTES = 16 * 1024 * 1024;

export const GEMM = route({
  id: "gemm",
  method: "post",
  path: "/v1/gemm",
  tag: "tensors",
  access: "owner",
  summary: "c = a · bᵀ, computed as a linear layer of a recipe would",
  description:
    "Operands are rounded and rotated as by quantize with this seed and scale=floor, prescale=0.75 for sr, hadamard=64 for rht. The response is a pure function of the request and, for f32 and bf16, of whether the machine fuses multiply-adds.",
  options: GEMM_OPTIONS,
  body: {
    description:
      "safetensors of `a` [m, k] and `b` [n, k], f32, f16, bf16 or f64; k a multiple of 32 for mxfp4, of 64 for rht; at most 16 MiB, 2^22 elements in both and 2^21 in `c`",
  },
  answers: {
    200: {
      description: "safetensors of `c` f32 [m, n], already times 16/9 for sr",
      type: "application/octet-stream",
      headers: { "Content-Length": "Bytes of the answer" },
    },
  },
  errors: TENSOR_ERRORS,
  examples: {
    operands: {
      summary: "Two operands of one row",
      query: { recipe: "mxfp4-rht-sr", seed: 1 },
      body: exampleOperands,
    },
  },
  async handle(c, { options }) {
    const { recipe, seed } = withDefaults(GEMM_OPTIONS, options);
    const { source, bytes, plan } = await openTensors(c);
    let reservation: Reservation | undefined;
    try {
      const { tensors, headBytes } = plan((file) => withoutGguf(file, "here"));
      if (bytes > MAX_BODY_BYTES) {
        throw new AppError(
          "body_too_large",
          `Expected a body of at most ${MAX_BODY_BYTES} bytes, got ${bytes}`,
        );
      }
      // For the body and the product, which usually has no more elements than the operands.
      reservation = await isolateMemory.reserve(2 * bytes);
      const data = await source.takeAway(bytes - headBytes);
      let product: ReturnType<typeof multiplyFile>;
      try {
        await source.expectEnd();
        const views = tensors.map(({ start, end, ...head }) => ({
          ...head,
          bytes: data.subarray(start, end),
        }));
        product = multiplyFile(views, recipe, seed);
      } finally {
        free(data);
      }
      const head = { name: "c", dtype: "F32" as const, shape: product.shape };
      const file = writeHead([head], new Map([["mxfp4.recipe", recipe]]));
      return answer(c.executionCtx, file.head, product.bytes, reservation);
    } catch (error) {
      reservation?.release();
      throw error;
    } finally {
      source.leave();
    }
  },
});

/**
 * The reservation is released when everything is written or the client has disconnected; `waitUntil` keeps the request
 * alive until then.
 */
function answer(
  until: Pick<ExecutionContext, "waitUntil">,
  head: Uint8Array<ArrayBuffer>,
  data: Uint8Array<ArrayBuffer>,
  reservation: Reservation,
): Response {
  const bytes = new Uint8Array(head.length + data.length);
  bytes.set(head);
  bytes.set(data, head.length);
  free(data);
  const file = new SharedBytes(bytes);
  const { length } = bytes;
  const { body, written } = file.read(() => reservation.touch());
  until.waitUntil(written.finally(() => reservation.release()));
  file.drop();
  return binary(body, length);
}
