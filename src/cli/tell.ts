/** Reports what a command has written: a line on stderr, or JSON on stdout. */
export function tell(asJson: boolean, line: string, figures: object): void {
  if (asJson) console.log(JSON.stringify(figures));
  else console.error(line);
}
