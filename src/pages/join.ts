/**
 * `/join`: trains in a run with this browser. The run is in the query; a join token, if any, is after the #, which
 * browsers do not send to servers.
 */
import { messageOf } from "../api/errors.ts";
import { computed, effect, signal, useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { render } from "preact";
import {
  hasEnded,
  type RunStatus,
  type RunSummary,
} from "../api/run-status.ts";
import { Client } from "../client/client.ts";
import { client, credentials, enter, isLetIn } from "./shell/access.ts";
import { Button } from "./shell/button.ts";
import { lossWords } from "./shell/format.ts";
import { trim } from "./shell/inputs.ts";
import { Door, PageFrame } from "./shell/frame.ts";
import { WAITING_LINES } from "./training/few-connections.ts";
import { tabMemoryBytes } from "./training/tab-memory.ts";
import { TabTrainer } from "./training/tab-trainer.ts";

const query = new URLSearchParams(location.search);
const invitation = location.hash.slice(1) || undefined;

const trainers = signal<readonly TabTrainer[]>([]);
const isTraining = computed(() =>
  trainers.value.some(({ state }) => state.value === "training"),
);

function Join({ open }: { open: readonly RunSummary[] }) {
  const said = useSignal("");
  const submit = async (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const run = form.get("run") as string;
    try {
      said.value = await begin(run, Number(form.get("threads")));
    } catch (error) {
      said.value = messageOf(error);
    }
  };
  const asked = query.get("run")?.trim() ?? "";
  return html`
    <section class="card">
      <h1>Train in this browser</h1>
      <p>
        Microbatches are computed here, by the same loop and the same kernels as
        everywhere: the run's bytes do not depend on who computes. You may leave
        at any time, and keep this tab in front, since browsers slow others
        down.
      </p>
      <form class="row" onSubmit=${submit}>
        <label>
          Run
          <input
            name="run"
            required
            list="runs"
            defaultValue=${asked}
            readonly=${invitation !== undefined}
            onChange=${trim}
          />
        </label>
        <datalist id="runs">
          ${open.map(
            ({ run, name }) =>
              html`<option value=${run} label=${name ?? run}></option>`,
          )}
        </datalist>
        <label>
          Trainers
          <input
            name="threads"
            type="number"
            min="1"
            max="64"
            required
            defaultValue=${Math.max(1, Math.floor(navigator.hardwareConcurrency / 2))}
          />
        </label>
        <${Button} class="main" isIdle=${isTraining.value}>Join</${Button}>
        <${Button}
          isIdle=${!isTraining.value}
          onClick=${() => trainers.value.forEach((each) => each.leave())}
        >
          Leave
        </${Button}>
      </form>
      <p role="status" id="said">${said.value}</p>
      ${trainers.value.length > 0 && html`<${Table} />`}
    </section>
  `;
}

/** Starts trainers, at most one per microbatch; returns a message. */
async function begin(run: string, wanted: number): Promise<string> {
  // crypto.subtle, which digests frames, exists in secure contexts only.
  if (!isSecureContext)
    throw new Error(
      `Expected an edge on https or on this machine, since browsers train for no other, got ${location.origin}; mxfp4-edge join does`,
    );
  const own = credentials();
  const task = { ...own, token: invitation ?? own.token, run };
  const status: RunStatus = await new Client(task).run(run).status();
  if (hasEnded(status.state)) return `${run} is ${status.state} already`;
  const count = Math.min(wanted, status.config.microbatches);
  const tab = `tab-${crypto.randomUUID().slice(0, 8)}`;
  trainers.value = Array.from(
    { length: count },
    (_, i) =>
      new TabTrainer({
        ...task,
        trainer: `${tab}-${i + 1}`,
        bootId: crypto.randomUUID(),
        line: i % WAITING_LINES,
        memoryBytes: tabMemoryBytes(count),
      }),
  );
  const { state, step, config } = status;
  const joined = `joined ${run} at step ${step} of ${config.steps}`;
  return state === "paused" ? `${joined}, while it is paused` : joined;
}

function Table() {
  return html`<div
    class="wide"
    tabindex="0"
    role="region"
    aria-label="Trainers of this tab"
  >
    <table id="trainers">
      <thead>
        <tr>
          ${["Trainer", "Is", "Microbatches", "Tokens", "Step", "Loss"].map(
            (name) => html`<th scope="col">${name}</th>`,
          )}
        </tr>
      </thead>
      <tbody>
        ${trainers.value.map(
          (each) =>
            html`<tr key=${each.trainer}>
              <th scope="row">${each.trainer}</th>
              <td>
                ${each.state}
                ${each.trouble.value && html`<span class="alarm">${each.trouble}</span>`}
              </td>
              <td class="done">${each.done}</td>
              <td>${each.tokens}</td>
              <td>${each.step}</td>
              <td>
                ${each.loss.value && lossWords(each.loss.value.perToken, each.loss.value.perByte)}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

addEventListener("pagehide", () =>
  trainers.value.forEach((each) => each.vanish()),
);
// Another invitation in the same tab needs a new page.
addEventListener("hashchange", () => location.reload());
const open = signal<readonly RunSummary[]>([]);
render(
  html`<${PageFrame}>
    ${
      invitation === undefined
        ? html`<${Door}>${() => html`<${Join} open=${open.value} />`}</${Door}>`
        : html`<${Join} open=${[]} />`
    }
  </${PageFrame}>`,
  document.getElementById("page")!,
);
effect(() => {
  if (invitation === undefined && isLetIn.value)
    void client()
      .runs()
      .then((all) => (open.value = all.filter(({ ended }) => !ended)))
      // The list is optional: ids can be typed.
      .catch(() => undefined);
});
await enter();
