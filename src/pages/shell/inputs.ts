/** Inputs for ids and whole numbers. */
import { useComputed, useSignal } from "@preact/signals";
import { html } from "htm/preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { expected, type Whole } from "../../api/option-kinds.ts";

/** Handler of `change` for ids, which may have been pasted with spaces around them. */
export function trim(event: Event): void {
  const input = event.currentTarget as HTMLInputElement;
  input.value = input.value.trim();
}

type Props = {
  option: Whole;
  value: number;
  heard: (value: number) => void;
};

/** Calls `heard` with valid whole numbers; for other input, shows what was expected and which value still applies. */
export function WholeInput({ option, value, heard }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const trouble = useSignal("");
  const id = useId();
  // Only another value replaces what is typed: the page renders for other causes in the middle of it.
  useLayoutEffect(() => {
    const field = input.current!;
    if (field.valueAsNumber !== value) field.value = String(value);
    trouble.value = "";
  }, [value]);
  const typed = () => {
    const { valueAsNumber: came } = input.current!;
    if (!isWhole(input.current!)) {
      trouble.value = `Expected ${expected(option)}; ${value} holds`;
      return;
    }
    trouble.value = "";
    heard(came);
  };
  const isInvalid = useComputed(() => (trouble.value ? "true" : undefined));
  return html`<div class="field">
    <label>
      ${option.text}
      <input
        ref=${input}
        type="number"
        min=${option.least}
        max=${option.most}
        aria-invalid=${isInvalid}
        aria-describedby=${id}
        onInput=${typed}
      />
    </label>
    <span id=${id} role="alert" class="alarm">${trouble}</span>
  </div>`;
}

function isWhole({ validity, valueAsNumber }: HTMLInputElement): boolean {
  return validity.valid && Number.isSafeInteger(valueAsNumber);
}
