/** Checks for impossible sizes in config.json, which loaders refuse; anything that some model may accept is allowed. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { CONFIG_FILE, type Checkpoint } from "./checkpoint.ts";
import { unlikeTensors } from "./config-shapes.ts";

/** Sizes of at least 1; others may be 0, such as heads in a state-space model. */
const SOME = ["hidden_size", "n_embd", "d_model", "vocab_size"];
const SOME_LAYERS = ["num_hidden_layers", "n_layer"];
const ANY = [
  "num_attention_heads",
  "n_head",
  "num_key_value_heads",
  "head_dim",
  "intermediate_size",
];
const MOST = 2 ** 31 - 1;

/** Models whose width must be a multiple of the number of heads, unless `head_dim` is given. */
const DIVIDED = new Set<unknown>(["gpt2", "llama"]);
/** Models whose heads must be a multiple of the groups. */
const GROUPED = new Set<unknown>(["llama", "mistral", "qwen2", "qwen3"]);
/** Tables with one row per id; padding is included in `vocab_size`. */
const EMBEDDING = /^(?:model\.embed_tokens|(?:transformer\.)?wte)\.weight$/;
const EMBEDDED = new Set<unknown>([...DIVIDED, ...GROUPED]);

/** All problems as messages; none without a config. */
export function configProblems({ config, tensors }: Checkpoint): string[] {
  if (config === undefined) return [];
  const problems = [
    ...[...SOME, ...SOME_LAYERS].flatMap((key) => sizeProblem(config, key, 1)),
    ...ANY.flatMap((key) => sizeProblem(config, key, 0)),
  ];
  if (problems.length > 0) return problems;
  const { model_type: type, vocab_size: vocabulary } = config;
  const width = config.hidden_size ?? config.n_embd;
  const heads = config.num_attention_heads ?? config.n_head;
  const groups = config.num_key_value_heads ?? heads;
  const isUneven = (all: unknown, by: unknown): boolean =>
    typeof all === "number" && typeof by === "number" && all % by !== 0;
  if (DIVIDED.has(type) && config.head_dim == null && isUneven(width, heads))
    problems.push(
      `Expected ${CONFIG_FILE} with a width that its heads share evenly, got ${shown(width)} and ${shown(heads)} heads`,
    );
  if (GROUPED.has(type) && isUneven(heads, groups))
    problems.push(
      `Expected ${CONFIG_FILE} with heads in groups of one size, got ${shown(heads)} heads and \`num_key_value_heads\` ${shown(groups)}`,
    );
  const embedding = tensors.find(({ name }) => EMBEDDING.test(name));
  const rows = embedding?.shape.length === 2 ? embedding.shape[0] : undefined;
  if (
    EMBEDDED.has(type) &&
    rows !== undefined &&
    typeof vocabulary === "number" &&
    rows !== vocabulary
  )
    problems.push(
      `Expected ${CONFIG_FILE} with the \`vocab_size\` of "${embedding!.name}", ${rows}, got ${vocabulary}`,
    );
  return EMBEDDED.has(type)
    ? [...problems, ...unlikeTensors(config, tensors)]
    : problems;
}

/** Errors: `invalid_config`, listing all problems */
export function checkConfigSizes(checkpoint: Checkpoint): void {
  const problems = configProblems(checkpoint);
  if (problems.length > 0)
    throw new AppError("invalid_config", problems.join("; "));
}

/** Checked before a parameter table is built: every layer has at least one tensor. Errors: `invalid_config` */
export function checkLayers({
  config,
  tensors,
  ggml = [],
}: Pick<Checkpoint, "config" | "tensors" | "ggml">): void {
  const stored = tensors.length + ggml.length;
  for (const key of SOME_LAYERS) {
    const layers = config?.[key];
    if (typeof layers === "number" && layers > stored)
      throw new AppError(
        "invalid_config",
        `Expected ${CONFIG_FILE} with a \`${key}\` of at most the ${stored} tensors that there are, got ${layers}`,
      );
  }
}

function sizeProblem(
  config: NonNullable<Checkpoint["config"]>,
  key: string,
  least: number,
): string[] {
  const value = config[key];
  // Some configs have a list with a size per layer; a missing value is a default.
  if (typeof value !== "number") return [];
  if (Number.isInteger(value) && value >= least && value <= MOST) return [];
  return [
    `Expected ${CONFIG_FILE} with a whole \`${key}\` from ${least} to ${MOST}, got ${value}`,
  ];
}
