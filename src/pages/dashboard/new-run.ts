/** The form that starts a run: text, model, recipe, and trainers. */
import { messageOf } from "../../api/errors.ts";
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { MAX_HOSTED_TRAINERS } from "../../api/run-status.ts";
import { DEFAULT_RECIPE, type Recipe, RECIPE_NAMES } from "../../api/recipe.ts";
import type { Dataset, TokenizerName } from "../../api/dataset.ts";
import {
  type ArchitectureName,
  ARCHITECTURES,
  type RunRequest,
} from "../../api/run-config.ts";
import { client } from "../shell/access.ts";
import { Button } from "../shell/button.ts";
import { share } from "../shell/format.ts";
import { trim } from "../shell/inputs.ts";
import { ARCHITECTURE_NAMES } from "./architecture-names.ts";
import { show } from "./choice.ts";
import { refreshRuns, trouble } from "./runs.ts";
import { sendText } from "./send-text.ts";
import { useSaid } from "./use-said.ts";

/** Integer fields: name, label, default, minimum, and a maximum if the form should check it rather than the edge. */
const SIZES = [
  ["layers", "Layers", 2, 1],
  ["width", "Width", 64, 64],
  ["heads", "Heads", 2, 1],
  ["context", "Context", 64, 1],
  ["steps", "Steps", 200, 1],
  ["microbatches", "Microbatches a step", 2, 1],
  ["sequences", "Sequences a microbatch", 1, 1],
  ["seed", "Seed", 0, 0],
  ["trainers", "Trainers here", 1, 0, MAX_HOSTED_TRAINERS],
] as const;

export function NewRun() {
  const datasets = useSignal<readonly Dataset[]>([]);
  const { said, say, fail } = useSaid(trouble);
  const isBusy = useSignal(false);
  /** Of a text's tokens. It stands beside what is read out. */
  const done = useSignal<number | undefined>(undefined);
  const load = async (event: Event) => {
    if (!(event.currentTarget as HTMLDetailsElement).open) return;
    try {
      datasets.value = (await client().datasets()).datasets;
    } catch (error) {
      fail(messageOf(error));
    }
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const told = new FormData(form);
    const details = form.closest("details")!;
    isBusy.value = true;
    try {
      const run = await start(told, say, (share) => (done.value = share));
      show(run);
      // From here on the run exists, even if adding trainers fails.
      const trainers = Number(told.get("trainers"));
      if (trainers > 0) await client().run(run).addTrainers(trainers);
      say("");
      details.open = false;
      details.querySelector("summary")!.focus();
      await refreshRuns();
    } catch (error) {
      fail(messageOf(error));
    } finally {
      isBusy.value = false;
      done.value = undefined;
    }
  };
  const ready = datasets.value.filter(({ state }) => state === "ready");
  return html`<details class="card" id="new-run" onToggle=${load}>
    <summary>Start a run</summary>
    <form class="grid" onSubmit=${submit}>
      <label class="long">
        Text that is here
        <select name="dataset">
          <option value="">none: a file</option>
          ${ready.map(
            ({ name, tokens }, i) =>
              html`<option value=${name} selected=${i === 0}>
                ${name}, ${tokens?.toLocaleString("en")} tokens
              </option>`,
          )}
        </select>
      </label>
      <label class="long">
        Or a text file of yours
        <input type="file" name="file" accept=".txt,.md,text/*" />
      </label>
      <label>
        Its tokens
        <select name="tokenizer">
          <option value="byte">bytes</option>
          <option value="bpe">byte pairs, learned from it</option>
        </select>
      </label>
      <label>
        Model
        <select name="arch">
          ${ARCHITECTURES.map(
            (name) =>
              html`<option value=${name}>${ARCHITECTURE_NAMES[name]}</option>`,
          )}
        </select>
      </label>
      <label>
        Recipe
        <select name="recipe">
          ${RECIPE_NAMES.map(
            (name) =>
              html`<option value=${name} selected=${name === DEFAULT_RECIPE}>
                ${name}
              </option>`,
          )}
        </select>
      </label>
      <label>
        Name
        <input name="name" maxlength="80" placeholder="for people" />
      </label>
      <label>
        Id
        <input
          name="run"
          pattern="[a-z0-9][a-z0-9\\-]{0,39}"
          placeholder="one is made"
          title="Up to 40 small letters, digits and hyphens, no hyphen first"
          onChange=${trim}
        />
      </label>
      ${SIZES.map(
        ([name, text, value, least, most]) =>
          html`<label key=${name}>
            ${text}
            <input
              type="number"
              name=${name}
              min=${least}
              max=${most}
              defaultValue=${value}
              required
            />
          </label>`,
      )}
      <div class="row">
        <${Button} class="main" isIdle=${isBusy.value}>Start</${Button}>
        <span role="status">${said.value}</span>
        ${done.value !== undefined && html`<span class="quiet">${share(done.value)}</span>`}
      </div>
    </form>
  </details>`;
}

/** Returns the run's id. */
async function start(
  form: FormData,
  say: (text: string) => void,
  heard: (share: number) => void,
): Promise<string> {
  const api = client();
  const number = (name: string) => Number(form.get(name));
  const file = form.get("file") as File;
  // Without a selection, browsers return an empty file without a name.
  if (file.size === 0 && file.name !== "")
    throw new Error(`Expected a text, got ${file.name}, which is empty`);
  const dataset =
    file.size > 0
      ? await sendText(file, form.get("tokenizer") as TokenizerName, say, heard)
      : (form.get("dataset") as string);
  if (dataset === "")
    throw new Error("Expected a text: choose one that is here, or a file");
  const run = form.get("run") as string;
  const name = (form.get("name") as string).trim();
  const sizes: Partial<RunRequest> = {
    model: {
      arch: form.get("arch") as ArchitectureName,
      layers: number("layers"),
      width: number("width"),
      heads: number("heads"),
      context: number("context"),
    },
    steps: number("steps"),
    microbatches: number("microbatches"),
    sequences: number("sequences"),
    seed: number("seed"),
  };
  say("starting…");
  const begun = await api.createRun({
    ...(run && { run }),
    ...(name && { name }),
    dataset,
    recipe: form.get("recipe") as Recipe,
    ...sizes,
  });
  return begun.run;
}
