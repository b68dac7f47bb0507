/** `/play`: quantizes a tensor in the page, with the same code as the edge. */
import { messageOf } from "../api/errors.ts";
import { computed, effect, signal, useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { render } from "preact";
import type { Inspection } from "../checkpoints/inspect.ts";
import { FLOAT_DTYPES } from "../formats/dtype.ts";
import { Form } from "./play/form.ts";
import type { Look } from "./play/look.ts";
import {
  ask,
  Overtaken,
  stopQuantizing,
  type Tensors,
} from "./play/requests.ts";
import { commands, madeFile, sentFile } from "./play/commands.ts";
import {
  block,
  chosenFile,
  chosenTensor,
  draws,
  files,
  linkTroubles,
  scheme,
} from "./play/settings.ts";
import { ShownInspection } from "./play/shown-inspection.ts";
import { ShownLook } from "./play/shown-look.ts";
import { enter } from "./shell/access.ts";
import { Button } from "./shell/button.ts";
import { copy } from "./shell/copy.ts";
import { share } from "./shell/format.ts";
import { PageFrame } from "./shell/frame.ts";
import { LinkTroubles } from "./shell/link.ts";
import { save } from "./shell/save.ts";

/** The user's file, or one of random values. */
const file = signal<Blob | undefined>(undefined);
const tensors = signal<readonly string[]>([]);
const look = signal<Look | undefined>(undefined);
const inspection = signal<Inspection | undefined>(undefined);
/**
 * Number of pending answers. An answer may trigger the next question, which is counted before the answer is uncounted.
 */
const underWay = signal(0);
/** What takes longer shows its progress. */
const SLOW_MS = 400;
const isSlow = signal(false);
const progress = signal(0);
/** Read out, which words for what takes no time would be too. */
const slowWords = signal("");
effect(() => {
  if (isSlow.value) slowWords.value = "computing";
  else if (slowWords.peek()) slowWords.value = "done";
});
effect(() => {
  isSlow.value = false;
  progress.value = 0;
  if (underWay.value === 0) return undefined;
  const timer = setTimeout(() => (isSlow.value = true), SLOW_MS);
  return () => clearTimeout(timer);
});

/** Shows the answer to the latest question only; nothing if that failed, with its error until the next. */
class Latest<T> {
  readonly trouble = signal("");
  readonly #show: (answer: T | undefined) => void;
  #count = 0;

  constructor(show: (answer: T | undefined) => void) {
    this.#show = show;
  }

  async take(answer: Promise<T>): Promise<void> {
    const own = ++this.#count;
    underWay.value = underWay.peek() + 1;
    try {
      const came = await answer;
      if (own === this.#count) this.#tell(came, "");
    } catch (error) {
      if (own === this.#count && !(error instanceof Overtaken))
        this.#tell(undefined, messageOf(error));
    } finally {
      underWay.value = underWay.peek() - 1;
    }
  }

  #tell(answer: T | undefined, trouble: string): void {
    this.trouble.value = trouble;
    this.#show(answer);
  }
}

const shownFile = new Latest<{ blob: Blob } & Tensors>((came) => {
  const names = came?.names ?? [];
  tensors.value = names;
  if (chosenFile.value !== undefined) chosenTensor.value = came?.first;
  file.value = came?.blob;
  if (names.length === 0) look.value = undefined;
  if (came && names.length === 0)
    shownFile.trouble.value = noFloats(came.dtypes);
});
function noFloats(dtypes: readonly string[]): string {
  const got = dtypes.length > 0 ? dtypes.join(", ") : "no tensor";
  return `Expected a tensor of ${FLOAT_DTYPES.join(", ")} with a dimension, got ${got}; of FP8 and MXFP4, \`mxfp4-edge dequantize\` makes one`;
}
const shownLook = new Latest<Look>((came) => (look.value = came));
const shownInspection = new Latest<Inspection | undefined>(
  (came) => (inspection.value = came),
);
const trouble = computed(
  () =>
    shownFile.trouble.value ||
    shownLook.trouble.value ||
    shownInspection.trouble.value,
);

effect(() => {
  const name = chosenFile.value;
  const own = name === undefined ? undefined : files.value.get(name);
  const drawn = draws.value;
  const opened = async () => {
    const blob = own ?? (await ask("draw", drawn));
    return { blob, ...(await ask("tensors", blob)) };
  };
  void shownFile.take(opened());
});

effect(() => {
  const tensor = chosenFile.value === undefined ? "x" : chosenTensor.value;
  if (file.value === undefined || tensor === undefined) return;
  const question = {
    file: file.value,
    tensor,
    options: scheme.value,
    block: block.value,
  };
  void shownLook.take(
    ask("look", question, (share) => (progress.value = share)),
  );
});

effect(() => {
  inspection.value = undefined;
  const { value: all } = files;
  void shownInspection.take(
    all.size > 0 ? ask("inspect", all) : Promise.resolve(undefined),
  );
});

function Play() {
  return html`
    <${Form} tensors=${tensors.value} />
    <${LinkTroubles} troubles=${linkTroubles} />
    ${trouble.value && html`<p role="alert" class="alarm">${trouble.value}</p>`}
    <p class=${isSlow.value ? "" : "visually-hidden"} id="busy">
      ${underWay.value > 0 ? "computing" : "done"}
    </p>
    <p role="status" class="visually-hidden" id="slow">${slowWords.value}</p>
    ${
      isSlow.value &&
      html`<progress
        max="1"
        value=${progress.value || undefined}
        aria-label="Of the tensor"
      ></progress>`
    }
    <${Take} />
    <div class=${`column${isSlow.value ? " stale" : ""}`}>
      ${file.value && look.value && html`<${ShownLook} ...${look.value} />`}
    </div>
    ${inspection.value && html`<${ShownInspection} ...${inspection.value} />`}
  `;
}

/** Downloads, link and commands. */
function Take() {
  const said = useSignal("");
  /** The share that is done; undefined where no file is being made. */
  const quantized = useSignal<number | undefined>(undefined);
  const isQuantizing = quantized.value !== undefined;
  const tried = (words: string, body: () => Promise<string>) => async () => {
    said.value = `${words}…`;
    try {
      said.value = await body();
    } catch (error) {
      said.value = messageOf(error);
    }
  };
  const download = async () => {
    const name = madeFile.value;
    const question = { file: file.value!, options: scheme.value };
    quantized.value = 0;
    const asked = ask("quantize", question, (done) => (quantized.value = done));
    const made = await asked.finally(() => (quantized.value = undefined));
    const bytes = await save(new Response(made), name);
    return `saved ${name}, ${bytes.toLocaleString("en")} bytes`;
  };
  const original = async () => {
    await save(new Response(file.value), sentFile.value);
    return `saved ${sentFile.value}`;
  };
  return html`<section class="card" aria-label="Take it home">
    <div class="row">
      <${Button}
        class="main"
        isIdle=${!file.value || isQuantizing}
        onClick=${tried("quantizing", download)}
      >
        Download the file quantized
      </${Button}>
      ${
        isQuantizing &&
        html`<button type="button" onClick=${stopQuantizing}>Stop</button>`
      }
      ${
        chosenFile.value === undefined &&
        html`<${Button}
          isIdle=${!file.value}
          onClick=${tried("saving", original)}
        >
          Download the draws
        </${Button}>`
      }
      <button
        type="button"
        onClick=${tried("copying", () => copy(location.href, "the link"))}
      >
        Copy the link
      </button>
      <button
        type="button"
        onClick=${tried("copying", () => copy(commands.value.analyze, "the command"))}
      >
        Copy as curl
      </button>
      <span id="said">
        <span role="status">${said.value}</span>
        ${isQuantizing && html` <span class="quiet">${share(quantized.value!)}</span>`}
      </span>
    </div>
    <details>
      <summary>The same from the API</summary>
      <pre id="curl-analyze">${commands.value.analyze}</pre>
      <pre id="curl-quantize">${commands.value.quantize}</pre>
    </details>
  </section>`;
}

render(
  html`<${PageFrame}><div class="column"><${Play} /></div></${PageFrame}>`,
  document.getElementById("page")!,
);
await enter();
