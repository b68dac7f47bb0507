/** The first of the chosen runs: where it is, what can be done with it, who trains it, where its parameters lie. */
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { hasEnded, type RunStatus } from "../../api/run-status.ts";
import type { RunClient } from "../../client/run-client.ts";
import { client, messageOf } from "../shell/access.ts";
import { copy } from "../shell/copy.ts";
import { ago, counted, figure } from "../shell/format.ts";
import { save } from "../shell/save.ts";
import { ARCHITECTURE_NAMES } from "./architecture-names.ts";
import { forget } from "./choice.ts";
import type { FollowedRun, News } from "./followed-run.ts";
import { hostKind } from "./host-kind.ts";
import { PhasesPanel } from "./phases.ts";
import { refreshRuns } from "./runs.ts";
import { Samples } from "./samples.ts";

type Exported = {
  text: string;
  ending: string;
  file: (run: RunClient) => Promise<Response>;
};

const PARAMETERS: Record<string, Exported> = {
  safetensors: {
    text: "safetensors, f32",
    ending: "safetensors",
    file: (run) => run.checkpoint("safetensors"),
  },
  hf: {
    text: "Hugging Face directory (tar)",
    ending: "tar",
    file: (run) => run.checkpoint("hf"),
  },
  gguf: {
    text: "GGUF, f32",
    ending: "gguf",
    file: (run) => run.checkpoint("gguf"),
  },
  "gguf-mxfp4": {
    text: "GGUF, MXFP4",
    ending: "mxfp4.gguf",
    file: (run) => run.checkpoint("gguf-mxfp4"),
  },
};
const HISTORY: Record<string, Exported> = {
  csv: {
    text: "CSV, a line a step",
    ending: "csv",
    file: (run) => run.metricsFile("csv"),
  },
  jsonl: {
    text: "JSON lines",
    ending: "jsonl",
    file: (run) => run.metricsFile("jsonl"),
  },
};
const EXPORTED = { ...PARAMETERS, ...HISTORY };

export function RunDetails({ followed }: { followed: FollowedRun }) {
  const { run, status, trouble } = followed;
  const { value: now } = status;
  return html`<section class="card" aria-label=${`Run ${run}`}>
    <h2>${run}</h2>
    ${trouble.value && html`<p role="alert" class="alarm">${trouble.value}</p>`}
    ${
      now === undefined
        ? html`<p class="quiet">Asking…</p>`
        : html`
            <${Summary} ...${now} />
            <${Actions} followed=${followed} status=${now} />
            <${PhasesPanel} metrics=${followed.metrics.value} />
            <${Trainers} status=${now} />
            <${Shards} status=${now} />
            <${Samples} followed=${followed} />
            <${Happened} news=${followed.news.value} />
          `
    }
  </section>`;
}

function Summary({
  state,
  step,
  config,
  parameters,
  trainLoss,
  valLoss,
}: RunStatus) {
  const { model, recipe, dataset, optimizer, steps } = config;
  return html`
    <p>
      <span class=${`state ${state}`} id="state">${state}</span>
      <span class="quiet"> at step </span><b id="step">${step}</b>
      <span class="quiet"> of ${steps}</span>
    </p>
    <progress max=${steps} value=${step} aria-label="Steps done"></progress>
    <dl>
      <dt>Loss</dt>
      <dd>${figure(trainLoss)}, validation ${figure(valLoss)}</dd>
      <dt>Model</dt>
      <dd>
        ${ARCHITECTURE_NAMES[model.arch ?? "gpt2"]},${" "}
        ${counted(model.layers, "layer")} of ${model.width}, context${" "}
        ${model.context}, vocabulary ${model.vocabulary}:${" "}
        ${counted(parameters, "parameter")}
      </dd>
      <dt>Recipe</dt>
      <dd>${recipe}, ${optimizer.name}, seed ${config.seed}</dd>
      <dt>Step</dt>
      <dd>
        ${counted(config.microbatches, "microbatch", "microbatches")} of${" "}
        ${counted(config.sequences, "sequence")}, gradients as${" "}
        ${config.gradientDtype}
      </dd>
      <dt>Text</dt>
      <dd>${dataset.name}, ${dataset.tokens.toLocaleString("en")} tokens</dd>
    </dl>
  `;
}

function Actions({
  followed,
  status,
}: {
  followed: FollowedRun;
  status: RunStatus;
}) {
  const { run } = followed;
  const { state } = status;
  const said = useSignal("");
  const isBusy = useSignal(false);
  const format = useSignal("safetensors");
  const act = (words: string, body: () => Promise<unknown>) => async () => {
    isBusy.value = true;
    said.value = `${words}…`;
    try {
      const outcome = await body();
      said.value = typeof outcome === "string" ? outcome : "";
      await followed.refresh();
    } catch (error) {
      said.value = messageOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  const button = (name: string, words: string, body: () => Promise<unknown>) =>
    html`<button
      type="button"
      disabled=${isBusy.value}
      onClick=${act(words, body)}
    >
      ${name}
    </button>`;
  const api = () => client().run(run);
  const download = async () => {
    const { ending, file } = EXPORTED[format.value]!;
    const bytes = await save(await file(api()), `${run}.${ending}`);
    return `saved ${run}.${ending}, ${bytes.toLocaleString("en")} bytes`;
  };
  const invite = async () => {
    const { token } = await api().joinToken();
    const link = `${location.origin}/join?run=${run}#${token}`;
    return copy(link, "a link with which others join this run");
  };
  return html`
    <div class="row">
      ${
        state === "running" &&
        button("Pause", "pausing", () => api().setState("paused"))
      }
      ${
        state === "paused" &&
        button("Resume", "resuming", () => api().setState("running"))
      }
      ${
        !hasEnded(state) &&
        html`${button("Cancel", "cancelling", () =>
            api().setState("cancelled"),
          )}
          ${button("Add a trainer", "starting a trainer", () =>
            api().addTrainers(1),
          )}
          <a
            class="button"
            href=${`/join?run=${run}`}
            target="_blank"
            rel="opener"
            >Join from this browser</a
          >
          ${button("Copy an invitation", "asking for a token", invite)}`
      }
      ${
        hasEnded(state) &&
        button("Remove", "removing", async () => {
          await api().remove();
          forget(run);
          await refreshRuns();
        })
      }
      <a class="button" href=${`/replay?run=${run}`}>Replay steps</a>
    </div>
    <div class="row">
      <label>
        Export as
        <select
          value=${format.value}
          onChange=${(event: Event) =>
            (format.value = (event.currentTarget as HTMLSelectElement).value)}
        >
          <optgroup label="Its parameters">${optionsOf(PARAMETERS)}</optgroup>
          <optgroup label="Its history">${optionsOf(HISTORY)}</optgroup>
        </select>
      </label>
      ${button("Export", "making the file", download)}
    </div>
    <p role="status" id="done">${said.value}</p>
  `;
}

function optionsOf(all: Record<string, Exported>) {
  return Object.entries(all).map(
    ([name, { text }]) => html`<option value=${name}>${text}</option>`,
  );
}

function Trainers({ status }: { status: RunStatus }) {
  const nowMs = Date.now();
  return html`
    <h3>Trainers</h3>
    ${
      status.trainers.length === 0
        ? html`<p class="quiet">None has come yet.</p>`
        : html`<div
            class="wide"
            tabindex="0"
            role="region"
            aria-label="Trainers"
          >
            <table id="trainers">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Host</th>
                  <th scope="col">Microbatches</th>
                  <th scope="col">Heard of</th>
                </tr>
              </thead>
              <tbody>
                ${status.trainers.map(
                  ({ name, host, completions, lastSeenMs }) =>
                    html`<tr key=${name}>
                      <th scope="row">${name}</th>
                      <td>${hostKind(host)}</td>
                      <td>${completions}</td>
                      <td>${ago(lastSeenMs, nowMs)}</td>
                    </tr>`,
                )}
              </tbody>
            </table>
          </div>`
    }
  `;
}

function Shards({ status }: { status: RunStatus }) {
  const { shards, parameters } = status;
  return html`
    <h3>Shards</h3>
    <ul class="shards">
      ${shards.map(
        ({ index, start, length }) =>
          html`<li key=${index}>
            ${index}: elements ${start.toLocaleString("en")} to
            ${" "}${(start + length).toLocaleString("en")},
            ${" "}${figure((100 * length) / parameters, 3)} %
          </li>`,
      )}
    </ul>
  `;
}

function Happened({ news }: { news: readonly News[] }) {
  return html`<details>
    <summary>What happened</summary>
    <ul class="news">
      ${news.map(
        (event) =>
          html`<li key=${event.id}>
            <time>${new Date(event.timeMs).toLocaleTimeString("en-GB")}</time>
            ${" "}${toldOf(event)}
          </li>`,
      )}
    </ul>
  </details>`;
}

function toldOf(event: News): string {
  switch (event.type) {
    case "evaluation":
      return `validation loss ${figure(event.valLoss)} at step ${event.step}`;
    case "state":
      return `the run is ${event.state}`;
    case "trainer":
      return `${event.trainer} ${event.change}`;
    case "conflict":
      return `step ${event.step}, microbatch ${event.microbatch}: ${event.author} has another result`;
    case "fingerprint":
      return event.fingerprint === null
        ? "the next trainer says what the others compute like"
        : `trainers must compute like ${event.fingerprint} now`;
    case "rewind":
      return `the run goes back to step ${event.step}`;
    case "author":
      return `${event.author} is ${event.state}`;
    case "waiting":
      return `step ${event.step} waits for one more author: microbatch ${event.microbatch} is ${event.reason}`;
  }
}
