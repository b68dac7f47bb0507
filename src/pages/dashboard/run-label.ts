/** How the page names a run. */
import { followed, runs } from "./runs.ts";

/** Its name, followed by the id if the name is not unique; or the id. */
export function runLabel(run: string): string {
  const name = nameOf(run);
  if (name === null) return run;
  const isShared = [...(runs.value ?? []), ...statuses()].some(
    (other) => other.run !== run && other.name === name,
  );
  return isShared ? `${name} (${run})` : name;
}

function nameOf(run: string): string | null {
  const told = [...statuses(), ...(runs.value ?? [])];
  return told.find((each) => each.run === run)?.name ?? null;
}

/** The list has only the latest runs. */
function statuses() {
  return followed.value.flatMap(({ status }) => status.value ?? []);
}
