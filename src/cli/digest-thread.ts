/** SHA-256 of sections of a byte stream, in a thread of its own. */
import { createHash } from "node:crypto";
import { parentPort } from "node:worker_threads";

/** A section is digested if it has a name. */
export type NamedStretch = { name?: string | undefined; bytes: number };

/** A chunk is returned with the digests of sections that ended in it. */
export type Digested = {
  chunk: Uint8Array<ArrayBuffer>;
  digests: [name: string, digest: string][];
};

/** The sections still to come. */
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
