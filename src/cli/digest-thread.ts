/** SHA-256 of stretches of bytes that go by, in a thread of its own. */
import { createHash } from "node:crypto";
import { parentPort } from "node:worker_threads";

/** Of a name those that are digested. */
export type NamedStretch = { name?: string | undefined; bytes: number };

/** What a chunk comes back with: the digests of what ended in it. */
export type Digested = {
  chunk: Uint8Array<ArrayBuffer>;
  digests: [name: string, digest: string][];
};

/** What goes by from now on. */
let stretches: NamedStretch[] = [];
let hash = createHash("sha256");

parentPort!.on("message", (told: NamedStretch[] | Uint8Array<ArrayBuffer>) => {
  if (Array.isArray(told)) {
    stretches = told;
    return;
  }
  const digested: Digested = { chunk: told, digests: digestsIn(told) };
  parentPort!.postMessage(digested, [told.buffer]);
});

function digestsIn(chunk: Uint8Array): Digested["digests"] {
  const digests: Digested["digests"] = [];
  for (let rest = chunk; stretches.length > 0;) {
    const stretch = stretches[0]!;
    const own = rest.subarray(0, stretch.bytes);
    if (stretch.name !== undefined) hash.update(own);
    stretch.bytes -= own.length;
    rest = rest.subarray(own.length);
    if (stretch.bytes > 0) break;
    stretches.shift();
    if (stretch.name === undefined) continue;
    digests.push([stretch.name, hash.digest("hex")]);
    hash = createHash("sha256");
  }
  return digests;
}
