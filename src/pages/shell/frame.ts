/** The frame of all pages: navigation, service, and the form for a token. */
import { useSignal } from "@preact/signals";
import { html } from "htm/preact";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { enter, isLetIn, leave, refusal, service } from "./access.ts";
import { focusPage } from "./button.ts";

const PLACES = [
  ["/", "Runs"],
  ["/play", "Playground"],
  ["/join", "Join"],
  ["/replay", "Replay"],
  ["/docs", "API"],
] as const;

const ACCESS = {
  all: "open to this machine",
  token: "closed: a token is needed",
  nobody: "closed: the secret API_TOKEN is not set, so nobody is let in",
};

export function PageFrame({ children }: { children: ComponentChildren }) {
  const here = location.pathname.replace(/(.)\/$/, "$1");
  return html`
    <header class="top">
      <a class="name" href="/"><${Mark} />mxfp4-edge</a>
      <nav aria-label="Pages">
        ${PLACES.map(
          ([path, name]) =>
            html`<a href=${path} aria-current=${path === here ? "page" : null}
              >${name}</a
            >`,
        )}
      </nav>
    </header>
    <main tabindex="-1">${children}</main>
    <footer>${service.value && html`<${Served} ...${service.value} />`}</footer>
  `;
}

function Mark() {
  return html`<svg class="mark" viewBox="0 0 42 18" aria-hidden="true">
    ${[0, 11, 22, 33].map(
      (x) => html`<rect key=${x} x=${x} width="9" height="18" rx="2" />`,
    )}
  </svg>`;
}

function Served({
  version,
  fingerprint,
  mode,
  access,
}: NonNullable<typeof service.value>) {
  return html`
    <dl class="inline">
      <div>
        <dt>Version</dt>
        <dd id="version">${version}, kernels ${fingerprint}</dd>
      </div>
      <div>
        <dt>Served</dt>
        <dd id="mode">
          ${mode === "local" ? "on this machine" : "as wrangler.toml says"}
        </dd>
      </div>
      <div>
        <dt>Access</dt>
        <dd id="access">
          ${ACCESS[access]}
          ${
            access === "token" &&
            isLetIn.value &&
            html` <button type="button" onClick=${leave}>
              Forget the token
            </button>`
          }
        </dd>
      </div>
    </dl>
  `;
}

/** Shows its children to users with access, and others how to get it. */
export function Door({ children }: { children: () => ComponentChildren }) {
  if (isLetIn.value === null)
    return html`<p class="quiet" role="status">Asking the edge…</p>`;
  if (isLetIn.value) return children();
  const access = service.value?.access;
  if (access === undefined)
    return html`<section class="card narrow">
      <h1>The edge does not answer</h1>
      <p role="alert" class="alarm">${refusal.value}</p>
      <button type="button" class="main" onClick=${() => void enter()}>
        Ask again
      </button>
    </section>`;
  if (access === "nobody")
    return html`<section class="card narrow">
      <h1>This edge lets nobody in</h1>
      <p>
        Its secret API_TOKEN is not set. Run${" "}
        <code>npx wrangler secret put API_TOKEN</code>, then come back with it.
      </p>
    </section>`;
  return html`<${TokenForm} />`;
}

function TokenForm() {
  const text = useSignal("");
  const input = useRef<HTMLInputElement>(null);
  // The focused element may have been removed.
  useEffect(() => input.current?.focus(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    await enter(text.value.trim());
    if (isLetIn.value) focusPage();
  };
  return html`<section class="card narrow">
    <h1>This edge is closed</h1>
    <form id="enter" class="column" onSubmit=${submit}>
      <label for="token">Its API token</label>
      <input
        id="token"
        ref=${input}
        type="password"
        autocomplete="off"
        required
        value=${text.value}
        onInput=${(event: InputEvent) =>
          (text.value = (event.currentTarget as HTMLInputElement).value)}
      />
      <p class="quiet">
        It stays in this tab until that is closed, and is sent as a header to
        this server alone.
      </p>
      <p id="said" role="alert" class="alarm">${refusal.value}</p>
      <button class="main">Enter</button>
    </form>
  </section>`;
}
