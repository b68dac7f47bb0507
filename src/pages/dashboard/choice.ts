/**
 * The selected runs and display settings, stored in the URL, so that a link shows the same. Selecting other runs adds a
 * history entry; changing settings does not.
 */
import { batch, effect, signal } from "@preact/signals";
import { choice } from "../../api/option-kinds.ts";
import { AXES, type AxisName } from "../charts/figures.ts";
import { LinkReader, wholeOption } from "../shell/link.ts";

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

/** Messages about invalid values in the URL. */
export const lookTroubles = signal<readonly string[]>([]);

/** By their names in the address. */
export const LOOKS = {
  x: choice(Object.keys(AXES) as AxisName[], "What curves are over", "step"),
  log: choice([0, 1], "Whether the scale is logarithmic", 0),
  loss: choice(["token", "byte"], "What losses are by", "token"),
  smooth: wholeOption("Smoothing, half-life in steps", 0, 9_999, HALF_LIFE),
};

function readAddress(): void {
  const link = new LinkReader();
  const said = <Name extends keyof typeof LOOKS>(name: Name) =>
    (link.value(name, LOOKS[name]) ??
      LOOKS[name].default) as (typeof LOOKS)[Name]["default"];
  batch(() => {
    chosen.value = [
      ...new Set(
        link
          .text("runs")
          ?.split(",")
          .map((run) => run.trim())
          .filter(Boolean),
      ),
    ];
    axis.value = said("x");
    isLog.value = said("log") === 1;
    isPerByte.value = said("loss") === "byte";
    halfLife.value = said("smooth");
    view.value = link.read(
      "zoom",
      "two numbers as in 10..50, the least first",
      rangeIn,
    );
    lookTroubles.value = link.troubles;
  });
}

function rangeIn(text: string): Range | undefined {
  const ends = text.split("..").map((end) => (end.trim() ? Number(end) : NaN));
  const [from, to] = ends as [number, number];
  const isRange = ends.length === 2 && ends.every(Number.isFinite) && from < to;
  return isRange ? [from, to] : undefined;
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
