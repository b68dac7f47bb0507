/** Reads values from the page's URL. Invalid ones are reported, and the defaults shown. */
import { html } from "htm/preact";
import {
  expected,
  invalidOption,
  shown,
  type ValueOf,
  type Whole,
} from "../../api/option-kinds.ts";
import { readOptionText, type TextOption } from "../../api/option-text.ts";

type Linked = Exclude<TextOption["option"], { kind: "patterns" }>;

export class LinkReader {
  readonly troubles: string[] = [];
  readonly #query = new URLSearchParams(location.search);

  text(name: string): string | null {
    return this.#query.get(name);
  }

  /** Undefined if missing or invalid. */
  value<O extends Linked>(name: string, option: O): ValueOf<O> | undefined {
    return this.read(name, expected(option), (text) =>
      readOptionText(option, text),
    ) as ValueOf<O> | undefined;
  }

  /** As `value`; `reading` returns undefined for text that is not `expectation`. */
  read<T>(
    name: string,
    expectation: string,
    reading: (text: string) => T | undefined,
  ): T | undefined {
    const text = this.text(name);
    if (text === null) return undefined;
    const value = reading(text);
    if (value === undefined)
      this.troubles.push(
        invalidOption(
          `\`${name}\` of the link to be ${expectation}`,
          shown(text),
        ).message,
      );
    return value;
  }
}

export function wholeOption(
  text: string,
  least: number,
  most: number,
  fallback: number,
): Whole & { default: number } {
  return { kind: "whole", text, least, most, default: fallback };
}

export function LinkTroubles({ troubles }: { troubles: readonly string[] }) {
  return troubles.map(
    (text) =>
      html`<p key=${text} role="alert" class="alarm">
        ${text}; the default is shown
      </p>`,
  );
}
