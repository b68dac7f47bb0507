import { Hono } from "hono";
import { ANALYZE_OPTIONS } from "../../api/options.ts";
import { analysisOf, rawOf } from "../../formats/operations/plan.ts";
import { run } from "../../formats/stream/conversion.ts";
import type { AppEnv } from "../env.ts";
import { openTensors } from "./tensor-body.ts";
import { optionsOf } from "./tensor-query.ts";

export const analyzeRoutes = new Hono<AppEnv>()

  /**
   * What quantizing would do to each tensor, by one scheme or several, in one pass over the body.
   *
   * Query:  those of `/v1/quantize`, but `layout`
   *         compare  up to 16 schemes, separated by commas: `all`, ocp | microxcaling | ggml | gpt-oss |
   *                  torchao-ceil | compressed-tensors | amd | paper, or options that differ from the
   *                  query's, as in `scale=even;hadamard=64`
   * Body:   as for `/v1/quantize`; of GGUF, the tensors that it would quantize
   * 200:    JSON: { tensors: [{ name, dtype, shape, elements, kurtosis, schemes: [{ scheme, sqnrDb, mse,
   *         cosine, maxError, clipped, zeroed, nan }], recommended }], passedOver: [{ name, dtype,
   *         shape, reason }], total, rule }; docs/analyze.md defines each figure. null where one has no
   *         value, such as sqnrDb without any error. Passed over are tensors that the request names and
   *         quantizing leaves: integers, floats of 8 bits, GGUF's quantized types
   * Errors: 400 malformed_body, 411 length_required, 413 body_too_large (too many tensors),
   *         415 unsupported_media_type,
   *         422 invalid_option | shape_mismatch | unsupported_dtype
   */
  .post("/v1/analyze", async (c) => {
    const options = optionsOf(c, ANALYZE_OPTIONS);
    const planned = analysisOf(options);
    const { source, plan } = await openTensors(c, rawOf(options));
    try {
      const { conversion, report } = plan(planned);
      // It has no output: this only drives it.
      for await (const _ of run(conversion, source));
      await source.expectEnd();
      return c.json(report());
    } catch (error) {
      await source.cancel();
      throw error;
    }
  });
