/**
 * Copies a text to the clipboard and returns a message; or, if browsers do not allow it (without https or localhost, or
 * at the moment), a message with the text to copy by hand.
 */
export async function copy(text: string, what: string): Promise<string> {
  const shown = `${what}, to be copied: ${text}`;
  if (!isSecureContext) return shown;
  return navigator.clipboard.writeText(text).then(
    () => `${what}: in the clipboard`,
    () => shown,
  );
}
