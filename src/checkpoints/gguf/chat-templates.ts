/** How a conversation is written, which llama.cpp's chat needs: one template, or several by name. Source: gguf-py's gguf_writer.py */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import { isObject } from "../../api/json.ts";
import type { Folder } from "../read-heads.ts";
import type { Pairs } from "./hyperparameters.ts";
import { parsed } from "./tokenizer-json.ts";

const KEY = "tokenizer.chat_template";
const JINJA_FILE = "chat_template.jinja";
const JSON_FILE = "chat_template.json";

/**
 * From tokenizer_config.json, or else from a file of its own. Errors: `malformed_body` for a list of anything but templates
 * with names
 */
export async function templatePairs(
  folder: Folder,
  { chat_template: own }: Readonly<Record<string, unknown>>,
): Promise<Pairs> {
  const template =
    own ?? (await folder.text(JINJA_FILE)) ?? (await inJson(folder));
  if (typeof template === "string") return [[KEY, { string: template }]];
  if (!Array.isArray(template)) return [];
  const named = template.map(templateOf);
  const others = named.filter(({ name }) => name !== "default");
  return [
    ...named.map(({ name, text: string }) =>
      name === "default"
        ? ([KEY, { string }] as const)
        : ([`${KEY}.${name}`, { string }] as const),
    ),
    ...(others.length === 0
      ? []
      : ([
          [
            "tokenizer.chat_templates",
            { strings: others.map(({ name }) => name) },
          ],
        ] as const)),
  ];
}

async function inJson(folder: Folder): Promise<unknown> {
  const text = await folder.text(JSON_FILE);
  return text === undefined ? undefined : parsed(text, JSON_FILE).chat_template;
}

/** A key's name has letters, digits and _ alone. */
function templateOf(item: unknown): { name: string; text: string } {
  const { name, template } = isObject(item) ? item : {};
  if (typeof name === "string" && name !== "" && typeof template === "string")
    return { name: name.replaceAll(/[^A-Za-z0-9]/g, "_"), text: template };
  throw new AppError(
    "malformed_body",
    `Expected \`chat_template\` to be a text, or a list of objects with \`name\` and \`template\`, got ${shown(item)}`,
  );
}
