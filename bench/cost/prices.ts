/**
 * What Cloudflare asks for on the Workers Paid plan, in US dollars, beyond what its 5 dollars a month include:
 * developers.cloudflare.com/workers/platform/pricing, /durable-objects/platform/pricing and /r2/pricing, as they
 * stood in August 2026.
 */
export const PRICES_OF = "August 2026";

const MILLION = 1e6;

export const PRICES = {
  /** A request to the Worker. */
  request: 0.3 / MILLION,
  /** A millisecond of CPU of the Worker; what an object computes is in its duration. */
  cpuMs: 0.02 / MILLION,
  /** A call of an object. */
  objectRequest: 0.15 / MILLION,
  /** A gigabyte and second that an object lies in memory; each is counted with 128 MB. */
  objectGigabyteSecond: 12.5 / MILLION,
} as const;

export const OBJECT_GIGABYTES = 0.128;
