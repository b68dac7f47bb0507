/** Inspects a single file, or a GGUF split into several. */
import { type OpenBeside, readGgufParts } from "./gguf-parts.ts";
import { inspect, type Inspection } from "./inspect.ts";
import { inspectGguf } from "./inspect-gguf.ts";
import { type RangedFile, readOne } from "./read-heads.ts";

/** Errors: those of `readGgufParts` and `readOne` */
export async function inspectFile(
  name: string,
  file: RangedFile,
  open?: OpenBeside,
): Promise<Inspection> {
  const gguf = await readGgufParts(name, file, open);
  return gguf ? inspectGguf(gguf) : inspect(await readOne(name, file));
}
