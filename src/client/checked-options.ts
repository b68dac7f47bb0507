/** Checks that a URL and a token can be used in requests. */
import { AppError } from "../api/errors.ts";
import { shown } from "../api/option-kinds.ts";

/** The URL without trailing slashes. */
export function checkUrl(baseUrl: unknown): string {
  const text = String(baseUrl);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url?.search === "" && url.hash === "" && url.username === "";
  if (isPlain && /^https?:$/.test(url.protocol))
    return text.replace(/\/+$/, "");
  throw new AppError(
    "invalid_option",
    `Expected \`baseUrl\` to be an http or https URL, as in http://127.0.0.1:8787, got ${shown(text)}`,
  );
}

export function checkApiToken(token: string | undefined): void {
  if (token === undefined || /^[\x21-\x7e]*$/.test(token)) return;
  throw new AppError(
    "invalid_option",
    "Expected `token` to be printable characters without spaces, got others",
  );
}
