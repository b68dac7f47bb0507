/** Reads a GGUF's keys, checking their types. */
import { AppError } from "../../api/errors.ts";
import { shown } from "../../api/option-kinds.ts";
import {
  type GgufScalar,
  ggufValue,
} from "../../formats/containers/gguf-value.ts";

export class GgufKeys {
  readonly #pairs: ReadonlyMap<string, Uint8Array>;

  constructor(pairs: ReadonlyMap<string, Uint8Array>) {
    this.#pairs = pairs;
  }

  /** The rest of each key that begins with `prefix`. */
  behind(prefix: string): string[] {
    const keys = [...this.#pairs.keys()];
    return keys
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length));
  }

  /** Undefined if there is no such key (in all these methods). Errors: `malformed_body` for a value of another type */
  text(key: string): string | undefined {
    return this.#scalar(key, "text", isText);
  }

  boolean(key: string): boolean | undefined {
    return this.#scalar(key, "true or false", isBoolean);
  }

  number(key: string): number | undefined {
    const value = this.#scalar(key, "a number", isNumber);
    return value === undefined ? undefined : Number(value);
  }

  /** Errors: as `number`; also if there is no such key */
  needed(key: string): number {
    const value = this.number(key);
    if (value !== undefined) return value;
    throw unlike(key, "a number", "none");
  }

  texts(key: string): string[] | undefined {
    return this.#array(key, "texts", isText);
  }

  numbers(key: string): number[] | undefined {
    return this.#array(key, "numbers", isNumber)?.map(Number);
  }

  #scalar<T extends GgufScalar>(
    key: string,
    what: string,
    is: (value: GgufScalar) => value is T,
  ): T | undefined {
    const value = this.#value(key);
    if (value === undefined || (!Array.isArray(value) && is(value)))
      return value;
    throw unlike(
      key,
      what,
      Array.isArray(value) ? "an array" : shownValue(value),
    );
  }

  #array<T extends GgufScalar>(
    key: string,
    what: string,
    is: (value: GgufScalar) => value is T,
  ): T[] | undefined {
    const value = this.#value(key);
    if (value === undefined || (Array.isArray(value) && value.every(is)))
      return value;
    throw unlike(
      key,
      `an array of ${what}`,
      Array.isArray(value) ? "another" : shownValue(value),
    );
  }

  #value(key: string): GgufScalar | GgufScalar[] | undefined {
    const encoded = this.#pairs.get(key);
    return encoded && ggufValue(encoded);
  }
}

const isText = (value: GgufScalar) => typeof value === "string";
const isBoolean = (value: GgufScalar) => typeof value === "boolean";
const isNumber = (value: GgufScalar): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

function shownValue(value: GgufScalar): string {
  return typeof value === "bigint" ? `${value}` : shown(value);
}

function unlike(key: string, expected: string, got: string): AppError {
  return new AppError(
    "malformed_body",
    `Expected a GGUF whose \`${key}\` is ${expected}, got ${got}`,
  );
}
