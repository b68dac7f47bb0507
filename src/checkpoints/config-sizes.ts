/** Sizes that config.json tells and no model can have, whose loaders refuse it; what another may take is not judged. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";
import { CONFIG_FILE, type Checkpoint } from "./checkpoint.ts";
import { unlikeTensors } from "./config-shapes.ts";

/** A model has some; of the others there may be none, as of heads in a state-space model. */
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

/** Whose classes take no width but a multiple of their heads, unless `head_dim` is told. */
const DIVIDED = new Set<unknown>(["gpt2", "llama"]);
/** Whose groups share heads evenly. */
const GROUPED = new Set<unknown>(["llama", "mistral", "qwen2", "qwen3"]);
/** Which have one row for each id: what is padded is told so in `vocab_size` too. */
const EMBEDDING = /^(?:model\.embed_tokens|(?:transformer\.)?wte)\.weight$/;
const EMBEDDED = new Set<unknown>([...DIVIDED, ...GROUPED]);

/** Each a sentence; none where there is no config. */
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

/** Errors: `invalid_config`, with all that is wrong */
export function checkConfigSizes(checkpoint: Checkpoint): void {
  const problems = configProblems(checkpoint);
  if (problems.length > 0)
    throw new AppError("invalid_config", problems.join("; "));
}

/** Before a table is made of them: there is a tensor of each at least. Errors: `invalid_config` */
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
  // Some have a size for each layer, and nothing is a default.
  if (typeof value !== "number") return [];
  if (Number.isInteger(value) && value >= least && value <= MOST) return [];
  return [
    `Expected ${CONFIG_FILE} with a whole \`${key}\` from ${least} to ${MOST}, got ${value}`,
  ];
}
