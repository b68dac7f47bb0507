/** Parsing of untrusted JSON. */

/**
 * The deepest nesting of arrays and objects. Recursive functions, `JSON.stringify` among them, overflow the stack on
 * deeper values. It is the limit of serde_json, which the reference readers of safetensors and tokenizers use.
 */
export const MAX_JSON_LEVELS = 127;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** As `JSON.parse`. Errors: `SyntaxError`, also for more than `MAX_JSON_LEVELS` */
export function parseJson(text: string): unknown {
  let levels = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"':
        at = stringEnd(text, at) - 1;
        break;
      case "{":
      case "[":
        if (++levels > MAX_JSON_LEVELS)
          throw new SyntaxError(
            `Expected JSON nested at most ${MAX_JSON_LEVELS} levels deep, got more`,
          );
        break;
      case "}":
      case "]":
        levels--;
    }
  }
  return JSON.parse(text);
}

/** The end of the JSON string whose opening quote is at `start`: after its closing quote, or the end of the text. */
export function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0;) {
    let before = at - 1;
    while (text[before] === "\\") before--;
    if ((at - before) % 2 === 1) return at + 1;
    at = text.indexOf('"', at + 1);
  }
  return text.length;
}

/** The object or array in a JSON text; undefined for anything else. */
export function parsedObject(text: string): object | undefined {
  try {
    const value = parseJson(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
