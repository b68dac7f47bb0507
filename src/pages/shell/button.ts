/** A button that may have to wait: it does nothing then, and keeps the focus, which one that is disabled loses. */
import { html } from "htm/preact";
import type { ComponentChildren } from "preact";

type Props = {
  /** In a form, without it: what submits. */
  onClick?: () => unknown;
  isIdle?: boolean;
  class?: string;
  children: ComponentChildren;
};

export function Button({ onClick, isIdle = false, ...rest }: Props) {
  const pressed = (event: Event) => {
    if (isIdle) event.preventDefault();
    else onClick?.();
  };
  return html`<button
    type=${onClick ? "button" : "submit"}
    class=${rest.class}
    aria-disabled=${isIdle ? "true" : null}
    onClick=${pressed}
  >
    ${rest.children}
  </button>`;
}

/** Where the focus goes when what had it is no more. */
export function focusPage(): void {
  document.querySelector("main")!.focus();
}
