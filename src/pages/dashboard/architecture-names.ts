/** Display names of architectures. */
import type { ArchitectureName } from "../../api/run-config.ts";

export const ARCHITECTURE_NAMES: Record<ArchitectureName, string> = {
  gpt2: "GPT-2",
  llama: "Llama",
};
