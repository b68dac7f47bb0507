/** The runs and jobs that there are, and those that are followed. */
import { messageOf } from "../../api/errors.ts";
import { batch, effect, signal } from "@preact/signals";
import type { RunSummary } from "../../api/run-status.ts";
import { client, isLetIn } from "../shell/access.ts";
import { chosen, show } from "./choice.ts";
import { FollowedRun } from "./followed-run.ts";

const REFRESH_MS = 5_000;

export const runs = signal<readonly RunSummary[] | undefined>(undefined);
export const trouble = signal("");
/** By name, in the order of `chosen`. */
export const followed = signal<readonly FollowedRun[]>([]);

export async function refreshRuns(): Promise<void> {
  try {
    const listed = await client().runs();
    batch(() => {
      runs.value = listed;
      trouble.value = "";
      if (chosen.value.length === 0 && listed[0]) show(listed[0].run);
    });
    await Promise.all(followed.peek().map((each) => lookAfter(each, listed)));
  } catch (error) {
    trouble.value = messageOf(error);
  }
}

/**
 * A run that has ended is asked about no more. It may be removed all the same, and another begun under its name: the
 * list tells.
 */
async function lookAfter(
  each: FollowedRun,
  listed: readonly RunSummary[],
): Promise<void> {
  const line = listed.find(({ run }) => run === each.run);
  if (each.isGone.value ? !line : !each.hasEnded || line?.ended) return;
  if (!each.isGone.value) {
    await each.refresh();
    if (each.hasEnded || each.isGone.value) return;
  }
  each.stop();
  followed.value = followed
    .peek()
    .map((other) => (other === each ? new FollowedRun(each.run) : other));
}

/** As long as the page is there. */
export function watchRuns(): void {
  setInterval(() => {
    if (isLetIn.value && !document.hidden) void refreshRuns();
  }, REFRESH_MS);
  document.addEventListener("visibilitychange", () => {
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
}
