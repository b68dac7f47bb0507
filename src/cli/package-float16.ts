/** The package's `Float16Array` where the runtime has none: Node 20 and 22, older browsers. */
import { Float16Array as Substitute } from "@petamoriken/float16";

const own = globalThis.Float16Array as unknown as typeof Substitute | undefined;
const chosen = own ?? Substitute;
export { chosen as Float16Array };
