/** The playground's form: input and scheme. */
import { messageOf } from "../../api/errors.ts";
import { type Signal, useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import type { Whole } from "../../api/option-kinds.ts";
import { SCHEME_PRESETS, PRESET_NAMES } from "../../api/presets.ts";
import { SINGLE_FILE } from "../../checkpoints/checkpoint.ts";
import { SCHEME_OPTIONS, type Scheme } from "../../api/scheme.ts";
import { WholeInput } from "../shell/inputs.ts";
import { schemeOf } from "../../formats/blocks/scheme.ts";
import { DISTRIBUTIONS, type DistributionName } from "./distributions.ts";
import { droppedFiles, pickedFiles } from "./dropped.ts";
import {
  block,
  chosenFile,
  chosenTensor,
  draws,
  files,
  PLACES,
  scheme,
} from "./settings.ts";

const CHOICES = [
  ["format", "Format"],
  ["rounding", "Rounding"],
  ["scale", "Scale rule"],
  ["prescale", "Prescale"],
  ["hadamard", "Rotation"],
] as const satisfies readonly [keyof Scheme, string][];

const SEED: Whole = { ...SCHEME_OPTIONS.seed, text: "Seed" };

/** `tensors`: names in the selected file. */
export function Form({ tensors }: { tensors: readonly string[] }) {
  return html`<section class="card" aria-label="Settings">
    <h1>Playground</h1>
    <${Source} tensors=${tensors} />
    <${SchemeForm} />
  </section>`;
}

function take(found: ReadonlyMap<string, File>): void {
  const names = [...found.keys()];
  files.value = found;
  chosenTensor.value = undefined;
  chosenFile.value =
    names.find((name) => name === SINGLE_FILE) ??
    names.find((name) => /\.(safetensors|gguf|npy)$/.test(name)) ??
    names[0];
}

function Source({ tensors }: { tensors: readonly string[] }) {
  const isOver = useSignal(false);
  const said = useSignal("");
  // The whole page accepts drops: otherwise the browser would open the file instead of the page.
  useEffect(() => {
    const hasFiles = ({ dataTransfer }: DragEvent) =>
      dataTransfer!.types.includes("Files");
    const over = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      isOver.value = true;
    };
    const leave = ({ relatedTarget }: DragEvent) => {
      if (relatedTarget === null) isOver.value = false;
    };
    const drop = async (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      isOver.value = false;
      try {
        take(await droppedFiles(event.dataTransfer!));
        said.value = "";
      } catch (error) {
        said.value = messageOf(error);
      }
    };
    const dropped = (event: DragEvent) => void drop(event);
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", dropped);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", dropped);
    };
  }, []);
  const picked = (event: Event) => {
    try {
      take(pickedFiles((event.currentTarget as HTMLInputElement).files));
      said.value = "";
    } catch (error) {
      said.value = messageOf(error);
    }
  };
  const number = (name: "rows" | "columns" | "seed", option: Whole) =>
    html`<${WholeInput}
      option=${option}
      value=${draws.value[name]}
      heard=${(value: number) => (draws.value = { ...draws.value, [name]: value })}
    />`;
  return html`
    <div class=${`drop${isOver.value ? " over" : ""}`}>
      <p>
        Drop a safetensors, .npy or GGUF file here, or a model's directory. It
        is read in parts, in this page; nothing of it is sent.
      </p>
      <div class="row">
        <label
          >A file
          <input
            type="file"
            id="file"
            accept=".safetensors,.npy,.gguf"
            onChange=${picked}
        /></label>
        <label
          >A directory
          <input type="file" id="directory" webkitdirectory onChange=${picked}
        /></label>
      </div>
      <p role="alert" class="alarm">${said.value}</p>
      ${
        chosenFile.value !== undefined &&
        html`<div class="row">
          ${select("File", chosenFile as Signal<string>, [...files.value.keys()], () => (chosenTensor.value = undefined))}
          ${
            tensors.length > 0 &&
            select("Tensor", chosenTensor as Signal<string>, tensors)
          }
          <button type="button" onClick=${() => take(new Map())}>
            Back to a distribution
          </button>
        </div>`
      }
    </div>
    ${
      chosenFile.value === undefined &&
      html`<div class="grid">
        <label class="long">
          Or draw
          <select
            value=${draws.value.distribution}
            onChange=${(event: Event) =>
              (draws.value = {
                ...draws.value,
                distribution: (event.currentTarget as HTMLSelectElement)
                  .value as DistributionName,
              })}
          >
            ${Object.entries(DISTRIBUTIONS).map(
              ([name, { title }]) =>
                html`<option value=${name}>${title}</option>`,
            )}
          </select>
        </label>
        ${number("rows", PLACES.rows)} ${number("columns", PLACES.columns)}
        ${number("seed", PLACES.draw)}
      </div>`
    }
  `;
}

function select(
  text: string,
  of: Signal<string>,
  names: readonly string[],
  changed: () => void = () => undefined,
) {
  return html`<label>
    ${text}${" "}
    <select
      value=${of.value}
      onChange=${(event: Event) => {
        changed();
        of.value = (event.currentTarget as HTMLSelectElement).value;
      }}
    >
      ${names.map((name) => html`<option value=${name}>${name}</option>`)}
    </select>
  </label>`;
}

function SchemeForm() {
  const complete = schemeOf(scheme.value);
  const set = (name: keyof Scheme, value: unknown) =>
    (scheme.value = { ...scheme.value, [name]: value });
  return html`<div class="grid">
    <label>
      As others do
      <select
        value=""
        onChange=${(event: Event) => {
          const select = event.currentTarget as HTMLSelectElement;
          const { layout: _, ...told } = {
            layout: undefined,
            ...SCHEME_PRESETS[select.value as keyof typeof SCHEME_PRESETS],
          };
          scheme.value = { seed: scheme.value.seed, ...told };
          select.value = "";
        }}
      >
        <option value="">a preset…</option>
        ${PRESET_NAMES.map((name) => html`<option value=${name}>${name}</option>`)}
      </select>
    </label>
    ${CHOICES.map(
      ([name, text]) =>
        html`<label key=${name}>
          ${text}
          <select
            value=${String(complete[name])}
            onChange=${(event: Event) => {
              const { value } = event.currentTarget as HTMLSelectElement;
              set(
                name,
                SCHEME_OPTIONS[name].values.find(
                  (each) => String(each) === value,
                ),
              );
            }}
          >
            ${SCHEME_OPTIONS[name].values.map(
              (value) => html`<option value=${String(value)}>${value}</option>`,
            )}
          </select>
        </label>`,
    )}
    <${WholeInput}
      option=${SEED}
      value=${complete.seed}
      heard=${(value: number) => set("seed", value)}
    />
    <${WholeInput}
      option=${PLACES.block}
      value=${block.value}
      heard=${(value: number) => (block.value = value)}
    />
  </div>`;
}
