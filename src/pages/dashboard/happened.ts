/** A run's events, in words. */
import { html } from "htm/preact";
import { lossWords } from "../shell/format.ts";
import type { News } from "./followed-run.ts";

export function Happened({ news }: { news: readonly News[] }) {
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
      return `validation loss ${lossWords(event.valLoss, event.valNatsPerByte)} at step ${event.step}`;
    case "state":
      return `the run is ${event.state}`;
    case "trainer":
      return `${event.trainer} ${event.change}`;
    case "conflict":
      return `step ${event.step}, microbatch ${event.microbatch}: ${event.author} has a different result`;
    case "fingerprint":
      return event.fingerprint === null
        ? "the next trainer that joins sets the required fingerprint"
        : `the required fingerprint is now ${event.fingerprint}`;
    case "rewind":
      return `the run was rewound to step ${event.step}`;
    case "author":
      return `${event.author} is ${event.state}`;
    case "waiting":
      return `step ${event.step} waits for one more author: microbatch ${event.microbatch} is ${event.reason}`;
  }
}
