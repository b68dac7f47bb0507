/** What a command came to, on stdout: as JSON where `--json` asks for it, else as `render` tells it. */
export function printAnswer<T>(
  isJson: unknown,
  answer: T,
  render: (answer: T) => string,
): void {
  console.log(isJson ? JSON.stringify(answer, null, 2) : render(answer));
}
