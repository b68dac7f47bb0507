/** Whether there is room for one column alone. What comes first there does so for the keyboard too, so styles alone are no way to it. */
import { signal } from "@preact/signals";

const query = matchMedia("(max-width: 60rem)");

export const isNarrow = signal(query.matches);
query.addEventListener("change", () => (isNarrow.value = query.matches));
