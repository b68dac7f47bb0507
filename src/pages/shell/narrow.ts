/** Whether there is room for one column only. Not done by CSS alone, since the order also matters for the keyboard. */
import { signal } from "@preact/signals";

const query = matchMedia("(max-width: 60rem)");

export const isNarrow = signal(query.matches);
query.addEventListener("change", () => (isNarrow.value = query.matches));
