/** Text samples with the run's current parameters: on request, and optionally every few steps. */
import { messageOf } from "../../api/errors.ts";
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { useEffect } from "preact/hooks";
import { hasEnded } from "../../api/run-status.ts";
import { client } from "../shell/access.ts";
import { Button } from "../shell/button.ts";
import type { FollowedRun } from "./followed-run.ts";
import { useSaid } from "./use-said.ts";

/** Latest first. */
const MOST = 12;
const LENGTHS = { maxTokens: 60, temperature: 0.8, topK: 40 };
/** In steps. */
const INTERVALS = [10, 50, 100, 200];

type Sample = { step: number; text: string };

export function Samples({ followed }: { followed: FollowedRun }) {
  const { run, status, metrics } = followed;
  const samples = useSignal<readonly Sample[]>([]);
  const prompt = useSignal("The ");
  const every = useSignal(0);
  const { said, say, fail } = useSaid(followed.trouble);
  /** Aborts the sample in progress. */
  const writing = useSignal<AbortController | undefined>(undefined);
  const step = metrics.value.findLast((each) => each.results !== null)?.step;
  const updates = Math.max(status.value?.step ?? 0, (step ?? -1) + 1);

  const write = async () => {
    const stopping = new AbortController();
    writing.value = stopping;
    say("");
    const before = samples.value
      .filter((each) => each.step !== updates)
      .slice(0, MOST - 1);
    let text = prompt.value;
    try {
      const request = { ...LENGTHS, prompt: text, seed: updates };
      const pieces = client(stopping.signal).run(run).generate(request);
      for await (const piece of pieces) {
        if ("text" in piece) text += piece.text;
        samples.value = [{ step: updates, text }, ...before];
      }
    } catch (error) {
      if (!stopping.signal.aborted) fail(messageOf(error));
    } finally {
      if (writing.value === stopping) writing.value = undefined;
    }
  };

  // One at a time: steps until a sample is complete have none.
  useEffect(() => {
    const { value: now } = status;
    const last = samples.value[0]?.step ?? -Infinity;
    if (every.value === 0 || writing.value || !now || hasEnded(now.state))
      return;
    if (!document.hidden && updates - last >= every.value) void write();
  }, [updates, every.value]);
  useEffect(() => () => writing.value?.abort(), []);

  return html`
    <h3>Samples</h3>
    <form
      class="row"
      onSubmit=${(event: Event) => {
        event.preventDefault();
        void write();
      }}
    >
      <label>
        Begin with
        <input
          name="prompt"
          required
          maxlength="200"
          value=${prompt.value}
          onInput=${(event: Event) =>
            (prompt.value = (event.currentTarget as HTMLInputElement).value)}
        />
      </label>
      <label>
        As it goes on
        <select
          value=${every.value}
          onChange=${(event: Event) =>
            (every.value = Number(
              (event.currentTarget as HTMLSelectElement).value,
            ))}
        >
          <option value="0">when asked</option>
          ${INTERVALS.map(
            (steps) =>
              html`<option value=${steps}>every ${steps} steps</option>`,
          )}
        </select>
      </label>
      <${Button} isIdle=${writing.value !== undefined}>Write</${Button}>
    </form>
    <p role="alert" class="alarm">${said.value}</p>
    <ol class="samples" id="samples">
      ${samples.value.map(
        ({ step: at, text }) =>
          html`<li key=${at}>
            <span class="quiet">step ${at}</span>
            <q>${text}</q>
          </li>`,
      )}
    </ol>
  `;
}
