/**
 * The selected runs and display settings, stored in the URL, so that a link shows the same. Selecting other runs adds a
 * history entry; changing settings does not.
 */
import { batch, effect, signal } from "@preact/signals";
import { AXES, type AxisName } from "../charts/figures.ts";

type Range = readonly [number, number];

/** The first one's details are shown; the others' curves are overlaid. */
export const chosen = signal<readonly string[]>([]);
export const axis = signal<AxisName>("step");
export const isLog = signal(false);
/** Losses in nats per byte of text, comparable between tokenizers, instead of per token. */
export const isPerByte = signal(false);
const HALF_LIFE = 8;
/** In steps; 0 for none. */
export const halfLife = signal(HALF_LIFE);
/** The visible range of the axis; all of it if undefined. */
export const view = signal<Range | undefined>(undefined);

function readAddress(): void {
  const query = new URLSearchParams(location.search);
  const asked = query.get("x") ?? "";
  batch(() => {
    chosen.value = [...new Set(query.get("runs")?.split(",").filter(Boolean))];
    axis.value = Object.hasOwn(AXES, asked) ? (asked as AxisName) : "step";
    isLog.value = query.get("log") === "1";
    isPerByte.value = query.get("loss") === "byte";
    halfLife.value = wholeOr(query.get("smooth"), HALF_LIFE);
    view.value = rangeIn(query.get("zoom"));
  });
}

function wholeOr(text: string | null, fallback: number): number {
  return text !== null && /^\d{1,4}$/.test(text) ? Number(text) : fallback;
}

/** As in 10..50. */
function rangeIn(text: string | null): Range | undefined {
  const [from, to] = (text ?? "").split("..").map(Number.parseFloat);
  const isRange = Number.isFinite(from) && Number.isFinite(to) && from! < to!;
  return isRange ? [from!, to!] : undefined;
}

readAddress();
addEventListener("popstate", readAddress);
effect(() => {
  const told = new URLSearchParams();
  if (chosen.value.length > 0) told.set("runs", chosen.value.join(","));
  if (axis.value !== "step") told.set("x", axis.value);
  if (isLog.value) told.set("log", "1");
  if (isPerByte.value) told.set("loss", "byte");
  if (halfLife.value !== HALF_LIFE) told.set("smooth", String(halfLife.value));
  if (view.value)
    told.set("zoom", view.value.map((x) => +x.toPrecision(6)).join(".."));
  const text = told.toString().replaceAll("%2C", ",");
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
});

/** Selects other runs. The effect above writes them to the history entry created here. */
function choose(runs: readonly string[]): void {
  if (chosen.peek().length > 0) history.pushState(null, "", location.href);
  chosen.value = runs;
}

/** Makes a run the first: moves it there if overlaid, else replaces the first. */
export function show(run: string): void {
  const { value: before } = chosen;
  if (before[0] === run) return;
  const others = before.includes(run) ? before : before.slice(1);
  choose([run, ...others.filter((each) => each !== run)]);
}

export function overlay(run: string, isOn: boolean): void {
  const others = chosen.value.filter((each) => each !== run);
  choose(isOn ? [...others, run] : others);
}

/** Deselects a deleted run, without a history entry. */
export function forget(run: string): void {
  chosen.value = chosen.value.filter((each) => each !== run);
}
