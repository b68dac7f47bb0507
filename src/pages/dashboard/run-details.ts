/** Details of the first selected run: state, actions, trainers, shards. */
import { html } from "htm/preact";
import type { RunStatus } from "../../api/run-status.ts";
import { focusPage } from "../shell/button.ts";
import { counted, figure, lossWords } from "../shell/format.ts";
import { serverNowMs } from "../shell/server-clock.ts";
import { ARCHITECTURE_NAMES } from "./architecture-names.ts";
import { forget } from "./choice.ts";
import type { FollowedRun } from "./followed-run.ts";
import { Happened } from "./happened.ts";
import { PhasesPanel } from "./phases.ts";
import { Actions } from "./run-actions.ts";
import { Samples } from "./samples.ts";
import { runLabel } from "./run-label.ts";
import { stateWords } from "./state-words.ts";
import { Trainers } from "./trainers.ts";
import { DEFAULT_ARCHITECTURE } from "../../api/run-config.ts";

export function RunDetails({ followed }: { followed: FollowedRun }) {
  const { run, status, trouble, isGone } = followed;
  const { value: now } = status;
  const label = runLabel(run);
  return html`<section class="card" aria-label=${`Run ${label}`}>
    <h2>${label}</h2>
    ${trouble.value && html`<p role="alert" class="alarm">${trouble.value}</p>`}
    ${
      isGone.value &&
      html`<button
        type="button"
        onClick=${() => {
          forget(run);
          focusPage();
        }}
      >
        Leave it out
      </button>`
    }
    ${
      now === undefined
        ? !trouble.value && html`<p class="quiet">Asking…</p>`
        : html`
            <${Summary} status=${now} />
            <${Actions} followed=${followed} status=${now} />
            <${PhasesPanel} metrics=${followed.metrics.value} />
            <${Trainers} status=${now} excluded=${followed.excluded.value} />
            <${Shards} status=${now} />
            <${Samples} followed=${followed} />
            <${Happened} news=${followed.news.value} />
          `
    }
  </section>`;
}

function Summary({ status }: { status: RunStatus }) {
  const { state, step, config, parameters } = status;
  const { model, recipe, dataset, optimizer, steps } = config;
  const words = stateWords(status, serverNowMs());
  return html`
    <p>
      <span class=${`state ${state}`} id="state">${state}</span>
      <span class="quiet"> at step </span><b id="step">${step}</b>
      <span class="quiet"> of ${steps}</span>
    </p>
    <progress max=${steps} value=${step} aria-label="Steps done"></progress>
    ${words && html`<p id="words">${words}</p>`}
    <dl>
      ${
        status.name !== null &&
        html`<dt>Id</dt>
          <dd>${status.run}</dd>`
      }
      <dt>Loss</dt>
      <dd>${lossSoFar(status.trainLoss, status.trainNatsPerByte)}</dd>
      <dt>Validation</dt>
      <dd>${lossSoFar(status.valLoss, status.valNatsPerByte)}</dd>
      <dt>Model</dt>
      <dd>
        ${ARCHITECTURE_NAMES[model.arch ?? DEFAULT_ARCHITECTURE]},${" "}
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

function lossSoFar(perToken: number | null, perByte: number | null): string {
  return perToken === null ? "none yet" : lossWords(perToken, perByte);
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
