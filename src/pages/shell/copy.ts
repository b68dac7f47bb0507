/**
 * Put a text into the clipboard, and say so; or show it to be copied by hand, where browsers have no clipboard for
 * the page: they have one for https and for this machine alone.
 */
export async function copy(text: string, what: string): Promise<string> {
  if (!isSecureContext) return `${what}, to be copied: ${text}`;
  await navigator.clipboard.writeText(text);
  return `${what}: in the clipboard`;
}
