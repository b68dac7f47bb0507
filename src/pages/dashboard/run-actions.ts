/** Actions on a run: pause, end, add trainers, export. */
import { messageOf } from "../../api/errors.ts";
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { hasEnded, type RunStatus } from "../../api/run-status.ts";
import type { RunClient } from "../../client/run-client.ts";
import { client } from "../shell/access.ts";
import { Button, focusPage } from "../shell/button.ts";
import { copy } from "../shell/copy.ts";
import { save } from "../shell/save.ts";
import { forget } from "./choice.ts";
import type { FollowedRun } from "./followed-run.ts";
import { refreshRuns } from "./runs.ts";
import { useSaid } from "./use-said.ts";

type Exported = {
  text: string;
  ending: string;
  file: (run: RunClient) => Promise<Response>;
};

const PARAMETERS: Record<string, Exported> = {
  safetensors: {
    text: "safetensors, f32",
    ending: "safetensors",
    file: (run) => run.checkpoint({ format: "safetensors" }),
  },
  hf: {
    text: "Hugging Face directory (tar)",
    ending: "tar",
    file: (run) => run.checkpoint({ format: "hf" }),
  },
  gguf: {
    text: "GGUF, f32",
    ending: "gguf",
    file: (run) => run.checkpoint({ format: "gguf" }),
  },
  "gguf-mxfp4": {
    text: "GGUF, MXFP4",
    ending: "mxfp4.gguf",
    file: (run) => run.checkpoint({ format: "gguf-mxfp4" }),
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

export function Actions({
  followed,
  status,
}: {
  followed: FollowedRun;
  status: RunStatus;
}) {
  const { run } = followed;
  const { state } = status;
  const { said, say, fail } = useSaid(followed.trouble);
  const isBusy = useSignal(false);
  const format = useSignal("safetensors");
  const act = (words: string, body: () => Promise<unknown>) => async () => {
    isBusy.value = true;
    say(`${words}…`);
    try {
      const outcome = await body();
      say(typeof outcome === "string" ? outcome : "");
      await followed.refresh();
    } catch (error) {
      fail(messageOf(error));
    } finally {
      isBusy.value = false;
    }
  };
  const button = (name: string, words: string, body: () => Promise<unknown>) =>
    html`<${Button} isIdle=${isBusy.value} onClick=${act(words, body)}>
      ${name}
    </${Button}>`;
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
        // Both buttons at the same place, so that pressing again undoes it.
        state === "running"
          ? button("Pause", "pausing", () => api().setState("paused"))
          : state === "paused" &&
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
          focusPage();
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
