/** A button that can be inactive. It keeps the focus then, which a disabled button loses. */
import { html } from "htm/preact";
import type { ComponentChildren } from "preact";

type Props = {
  /** Without it, the button submits its form. */
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

/** Moves the focus when the focused element is removed. */
export function focusPage(): void {
  document.querySelector("main")!.focus();
}
