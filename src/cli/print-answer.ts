/** Prints a command's result to stdout: as JSON with `--json`, else by `render`. */
export function printAnswer<T>(
  isJson: unknown,
  answer: T,
  render: (answer: T) => string,
): void {
  console.log(isJson ? JSON.stringify(answer, null, 2) : render(answer));
}
