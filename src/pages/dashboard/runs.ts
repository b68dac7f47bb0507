/** The list of runs, and the followed ones. */
import { messageOf } from "../../api/errors.ts";
import { batch, effect, signal } from "@preact/signals";
import type { RunSummary } from "../../api/run-status.ts";
import { client, isLetIn } from "../shell/access.ts";
import { chosen, show } from "./choice.ts";
import { FollowedRun } from "./followed-run.ts";

const REFRESH_MS = 5_000;

export const runs = signal<readonly RunSummary[] | undefined>(undefined);
export const trouble = signal("");
/** In the order of `chosen`. */
export const followed = signal<readonly FollowedRun[]>([]);

export async function refreshRuns(): Promise<void> {
  try {
    const listed = await client().runs();
    const before = runs.peek();
    batch(() => {
      runs.value = listed;
      trouble.value = "";
      if (chosen.value.length === 0 && listed[0]) show(listed[0].run);
    });
    await Promise.all(
      followed.peek().map((each) => {
        const isLine = ({ run }: RunSummary) => run === each.run;
        return lookAfter(each, before?.find(isLine), listed.find(isLine));
      }),
    );
  } catch (error) {
    trouble.value = messageOf(error);
  }
}

/**
 * A run that has ended is not polled. It may still be deleted and replaced by another with the same id: then its entry
 * in the list changes.
 */
async function lookAfter(
  each: FollowedRun,
  before: RunSummary | undefined,
  now: RunSummary | undefined,
): Promise<void> {
  if (each.isGone.value) {
    if (now) followAnew(each);
    return;
  }
  const isAsBefore = now?.ended && now.createdMs === before?.createdMs;
  if (each.hasEnded && !isAsBefore) await each.refresh();
}

function followAnew(each: FollowedRun): void {
  followed.value = followed
    .peek()
    .map((other) => (other === each ? new FollowedRun(each.run) : other));
}

/** Keeps both up to date as long as the page exists. */
export function watchRuns(): void {
  const isInSight = signal(!document.hidden);
  setInterval(() => {
    if (isLetIn.value && !document.hidden) void refreshRuns();
  }, REFRESH_MS);
  document.addEventListener("visibilitychange", () => {
    isInSight.value = !document.hidden;
    if (isLetIn.value && !document.hidden) void refreshRuns();
  });
  effect(() => {
    if (isLetIn.value) void refreshRuns();
  });
  effect(() => {
    const wanted = isLetIn.value ? chosen.value : [];
    const present = followed.peek();
    const byName = new Map(present.map((each) => [each.run, each]));
    for (const each of present) if (!wanted.includes(each.run)) each.stop();
    followed.value = wanted.map(
      (run) => byName.get(run) ?? new FollowedRun(run),
    );
  });
  effect(() => {
    for (const each of followed.value)
      if (each.isReplaced.value) followAnew(each);
  });
  effect(() => {
    for (const [place, each] of followed.value.entries())
      each.isLive = place === 0 && isInSight.value;
  });
}
