/** Checks who may talk to a run: a caller's token, a trainer's fingerprint, the lease key of a result. */
import { AppError } from "../../api/errors.ts";
import type { Lease, LeaseRequest } from "../../api/lease.ts";
import { hasEnded } from "../../api/run-status.ts";
import {
  authorOf,
  authorOfKey,
  checkCreation,
  leaseKey,
  OWNER,
} from "../platform/author.ts";
import { changeFingerprint } from "./fingerprint-change.ts";
import type { RunParts } from "./run-parts.ts";
import type { Given, Holder } from "./step-leases.ts";
import { rosterName } from "./trainer-roster.ts";

export class Admission {
  readonly #parts: RunParts;

  constructor(parts: RunParts) {
    this.#parts = parts;
  }

  /** Errors: `unauthorized` if the caller's token is not of this run or is revoked; `forbidden` if it is quarantined */
  admit(caller: string): void {
    checkCreation(this.#parts.present.record().keys, caller);
    this.#parts.authors.check(caller);
  }

  /** Errors: as `admit` */
  holderOf(
    caller: string,
    { trainer, bootId }: Pick<LeaseRequest, "trainer" | "bootId">,
  ): Holder {
    this.admit(caller);
    const author = authorOf(caller, trainer);
    this.#parts.authors.check(author);
    return { trainer: rosterName(caller, trainer), bootId, author };
  }

  authorOfKey(
    caller: string,
    leased: Omit<Given, "deadlineMs">,
    key: string | undefined,
  ): Promise<string> {
    return authorOfKey(this.#parts.present.record().keys, caller, leased, key);
  }

  async withKey({ author }: Holder, given: Given): Promise<Lease> {
    const { keys, rewinds, config, createdMs } = this.#parts.present.record();
    const exclusions = this.#parts.authors.exclusions(author);
    const key = await leaseKey(keys, author, given, config.subtree, exclusions);
    return { ...given, key, ...(rewinds > 0 && { rewinds }), createdMs };
  }

  /**
   * The first trainer's fingerprint becomes the run's. One set by a join token's trainer is replaced by that of the
   * owner's first trainer. Errors: `fingerprint_differs`
   */
  async checkFingerprint(caller: string, offered: string): Promise<void> {
    const { fingerprint, fingerprintBy, state } = this.#parts.present.record();
    if (hasEnded(state)) return;
    const by = caller === OWNER ? null : caller;
    if (fingerprint === null) {
      this.#parts.store.update({ fingerprint: offered, fingerprintBy: by });
    } else if (fingerprint !== offered) {
      if (by === null && fingerprintBy !== null) {
        await changeFingerprint(this.#parts, offered, by);
        return;
      }
      throw new AppError(
        "fingerprint_differs",
        `Expected a trainer that computes like the ${fingerprintBy === null ? "owner's" : "first"}, "${fingerprint}"; got "${offered}". The run's owner may set or reset it`,
      );
    } else if (by === null && fingerprintBy !== null) {
      this.#parts.store.update({ fingerprintBy: by });
    }
  }
}
