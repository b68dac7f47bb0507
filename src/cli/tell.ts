/** What came of a command that writes files: a line for a person on stderr, or its figures as JSON on stdout. */
export function tell(asJson: boolean, line: string, figures: object): void {
  if (asJson) console.log(JSON.stringify(figures));
  else console.error(line);
}
