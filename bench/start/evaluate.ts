/** `node bench/start/evaluate.ts MODULE`: ms of CPU to parse and evaluate a Worker's module, whose kernels beside it are compiled before. */
import { readdirSync, readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

/** The runtime's own module, as far as an evaluation asks for it. */
const RUNTIME = `
  export class DurableObject {}
  export const env = {}, exports = {};`;

/** Workers may not compile bytes, so their types declare no constructor. */
const Module = WebAssembly.Module as unknown as new (
  bytes: Uint8Array,
) => WebAssembly.Module;

const entry = process.argv[2]!;
const kernels: Record<string, WebAssembly.Module> = {};
for (const file of readdirSync(dirname(entry))) {
  if (!file.endsWith(".wasm")) continue;
  const path = join(dirname(entry), file);
  const { href } = pathToFileURL(path);
  kernels[href] = new Module(readFileSync(path));
}
Object.assign(globalThis, { kernels });

registerHooks({
  resolve: (name, context, next) =>
    name.startsWith("cloudflare:")
      ? { url: name, shortCircuit: true }
      : next(name, context),
  load(url, context, next) {
    const source = url.startsWith("cloudflare:")
      ? RUNTIME
      : url in kernels
        ? `export default kernels[${JSON.stringify(url)}];`
        : undefined;
    if (source === undefined) return next(url, context);
    return { format: "module", source, shortCircuit: true };
  },
});

const begun = process.cpuUsage();
await import(pathToFileURL(entry).href);
const { user, system } = process.cpuUsage(begun);
console.log((user + system) / 1000);
