/** Quantizes a model's directory to a single GGUF for llama.cpp. */
import { checkConfigSizes } from "../checkpoints/config-sizes.ts";
import { join } from "node:path";
import pc from "picocolors";
import type { QuantizeOptions } from "../api/tensors.ts";
import { decideGgufDirectory } from "../checkpoints/gguf/decide-gguf.ts";
import {
  ggufChoices,
  planFolderGguf,
} from "../checkpoints/gguf/folder-gguf.ts";
import { hasTokenizer } from "../checkpoints/gguf/vocabulary.ts";
import { readFolder } from "../checkpoints/read-heads.ts";
import { readInOrder } from "../checkpoints/tensor-reads.ts";
import {
  KeptValues,
  valuesOf,
} from "../formats/operations/nonfinite-values.ts";
import { bytesOfRuns } from "../formats/stream/file-range.ts";
import { run } from "../formats/stream/conversion.ts";
import { loadKernelsFile } from "../kernels/load-file.ts";
import { byteSize } from "../api/byte-size.ts";
import { checkApart } from "./apart.ts";
import { Bar } from "./bar.ts";
import { cardName } from "./card-name.ts";
import { tellKept } from "./convert-file.ts";
import { checkNamedFor } from "./output-kind.ts";
import { openedFiles, localFolder } from "./ranged-files.ts";
import { showGguf } from "./show-directory.ts";
import { checkOutputOrStdout, STANDARD, writeOutput } from "./stdio.ts";
import { tell } from "./tell.ts";

export async function quantizeGguf(request: {
  from: string;
  /** If undefined, only prints what would be done. */
  to: string | undefined;
  asJson: boolean;
  force: boolean;
  options: QuantizeOptions;
}): Promise<void> {
  const { from, to, options } = request;
  const folder = localFolder(from);
  const choices = ggufChoices(options);
  if (to === undefined) {
    const checkpoint = await readFolder(folder);
    checkConfigSizes(checkpoint);
    const decided = decideGgufDirectory(checkpoint, choices);
    console.log(showGguf(decided, request.asJson));
    return;
  }
  checkOutputOrStdout(to, request.force);
  loadKernelsFile();
  const name = cardName(from);
  const kept = new KeptValues();
  const values = valuesOf(options.nonfinite, kept);
  const plan = await planFolderGguf(folder, name, choices, values);
  const { reads, conversion, decided } = plan;
  const files = await openedFiles(reads, (file) => {
    if (to !== STANDARD) checkApart(join(from, file), to);
    return folder.open(file);
  });
  checkNamedFor(to, "a GGUF");
  const bar = new Bar("quantize");
  bar.begin(bytesOfRuns(reads));
  const source = readInOrder(reads, files, (bytes) => bar.add(bytes), {
    readsAhead: true,
  });
  const bytes = await writeOutput(to, run(conversion(), source)).finally(() =>
    bar.end(),
  );
  tellKept(kept);
  const packed = decided.tensors.filter(({ becomes }) => becomes === "MXFP4");
  const without = !(await hasTokenizer(folder));
  const done = `${packed.length} of ${decided.tensors.length} tensors in MXFP4 for llama.cpp`;
  const { seconds } = bar;
  tell(
    request.asJson,
    `${pc.bold(to)}: ${done}, ${byteSize(bytes)} in ${seconds.toFixed(1)} s${without ? "; the directory has no tokenizer, so tokens are called by their ids" : ""}`,
    { output: to, bytesWritten: bytes, seconds, done, hasTokenizer: !without },
  );
}
