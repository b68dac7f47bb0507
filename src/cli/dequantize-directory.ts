/** A directory of blocks to one of floats. */
import { basename, resolve } from "node:path";
import pc from "picocolors";
import { DEQUANTIZE_OPTIONS } from "../api/options.ts";
import { withDefaults } from "../api/option-kinds.ts";
import type { DequantizeOptions } from "../api/tensors.ts";
import { planDequantizedDirectory } from "../checkpoints/dequantize-plan.ts";
import { decodedCard } from "../checkpoints/model-card.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { dataBytes } from "../checkpoints/shards.ts";
import type { DecodedDtype } from "../formats/dtype.ts";
import {
  KeptValues,
  valuesOf,
} from "../formats/operations/nonfinite-values.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { size } from "./bar.ts";
import { tellKept } from "./convert-file.ts";
import { checkOutputFolder, writeDirectory } from "./directory-output.ts";
import { localFolder } from "./ranged-files.ts";

export async function dequantizeDirectory(request: {
  from: string;
  to: string;
  maxShardBytes: number;
  force: boolean;
  options: DequantizeOptions;
}): Promise<void> {
  const { from, to, force, maxShardBytes } = request;
  const { dtype, nonfinite } = withDefaults(
    DEQUANTIZE_OPTIONS,
    request.options,
  );
  const checkpoint = await readFolder(localFolder(from));
  checkOutputFolder(to, force);
  loadKernelsFile();
  const type = dtype.toUpperCase() as DecodedDtype;
  const kept = new KeptValues();
  const plan = planDequantizedDirectory(
    checkpoint,
    type,
    maxShardBytes,
    valuesOf(nonfinite, kept).watch,
  );
  const { shards, texts, decoded } = plan;
  const name = basename(resolve(from));
  const seconds = await writeDirectory({
    operation: "dequantize",
    from,
    to,
    force,
    shards,
    texts,
    card: () => decodedCard(name, type, decoded, kept.tensors),
  });
  tellKept(kept);
  console.error(
    `${pc.bold(to)}: ${decoded.length} tensors to ${type}, ${size(dataBytes(shards))} in ${seconds.toFixed(1)} s`,
  );
}
