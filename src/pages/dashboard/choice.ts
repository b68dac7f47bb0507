/** Which runs are looked at, and how: it stands in the address, so that a link shows the same. */
import { effect, signal } from "@preact/signals";
import { AXES, type AxisName } from "../charts/figures.ts";

const query = new URLSearchParams(location.search);

/** The one whose details are shown, first, and those that are laid over it. */
export const chosen = signal<readonly string[]>(
  query.get("runs")?.split(",").filter(Boolean) ?? [],
);
const asked = query.get("x");
export const axis = signal<AxisName>(
  asked !== null && asked in AXES ? (asked as AxisName) : "step",
);
export const isLog = signal(query.get("log") === "1");
/** In steps; 0 for none. */
export const halfLife = signal(wholeOr(query.get("smooth"), 8));
export const view = signal<readonly [number, number] | undefined>(undefined);

function wholeOr(text: string | null, fallback: number): number {
  return text !== null && /^\d{1,4}$/.test(text) ? Number(text) : fallback;
}

effect(() => {
  const told = new URLSearchParams();
  if (chosen.value.length > 0) told.set("runs", chosen.value.join(","));
  if (axis.value !== "step") told.set("x", axis.value);
  if (isLog.value) told.set("log", "1");
  if (halfLife.value !== 8) told.set("smooth", String(halfLife.value));
  const text = told.toString().replaceAll("%2C", ",");
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
});

/** Show this one: before the others where it lies over them, and else for the one that was shown. */
export function show(run: string): void {
  const { value: before } = chosen;
  const others = before.includes(run) ? before : before.slice(1);
  chosen.value = [run, ...others.filter((each) => each !== run)];
}

export function overlay(run: string, isOn: boolean): void {
  const others = chosen.value.filter((each) => each !== run);
  chosen.value = isOn ? [...others, run] : others;
}

/** Of a run that is gone. */
export function forget(run: string): void {
  chosen.value = chosen.value.filter((each) => each !== run);
}
