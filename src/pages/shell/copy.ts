/**
 * Put a text into the clipboard, and say so; or show it to be copied by hand, where browsers have no clipboard for
 * the page (they have one for https and for this machine alone) or do not let it write there now.
 */
export async function copy(text: string, what: string): Promise<string> {
  const shown = `${what}, to be copied: ${text}`;
  if (!isSecureContext) return shown;
  return navigator.clipboard.writeText(text).then(
    () => `${what}: in the clipboard`,
    () => shown,
  );
}
