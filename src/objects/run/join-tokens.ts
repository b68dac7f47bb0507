/** Issues, revokes and reinstates a run's join tokens. */
import { AppError } from "../../api/errors.ts";
import type { AuthorState, JoinToken } from "../../api/run-status.ts";
import { tokenId } from "../platform/author.ts";
import type { RunParts } from "./run-parts.ts";

export class JoinTokens {
  readonly #authors: RunParts["authors"];
  readonly #events: RunParts["events"];
  readonly #waiting: RunParts["waiting"];
  readonly #present: RunParts["present"];
  readonly #progress: RunParts["progress"];
  readonly #agreement: RunParts["agreement"];

  constructor(parts: RunParts) {
    this.#authors = parts.authors;
    this.#events = parts.events;
    this.#waiting = parts.waiting;
    this.#present = parts.present;
    this.#progress = parts.progress;
    this.#agreement = parts.agreement;
  }

  /** Issues a token with which others can train in this run, valid for `expiresInMs`. */
  issue(expiresInMs: number) {
    const { keys } = this.#present.record();
    return this.#authors.issue(
      (n) => tokenId(keys, n),
      Date.now(),
      expiresInMs,
    );
  }

  all(): JoinToken[] {
    this.#present.record();
    return this.#authors.all();
  }

  /**
   * Revokes or reinstates a token, named by its id or number. Errors: `token_not_found`; `wrong_state` for
   * reinstating an expired token
   */
  async setState(
    asked: string,
    state: Exclude<AuthorState, "quarantined">,
  ): Promise<JoinToken> {
    const { keys } = this.#present.record();
    const id = /^\d+$/.test(asked) ? tokenId(keys, Number(asked)) : asked;
    if (!this.#authors.has(id)) {
      throw new AppError(
        "token_not_found",
        `Expected the id of a join token of this run, got "${asked}"`,
      );
    }
    const find = () => this.#authors.all().find((token) => token.id === id)!;
    const { expiresMs } = find();
    if (state === "active" && expiresMs !== null && expiresMs <= Date.now()) {
      throw new AppError(
        "wrong_state",
        `Expected a join token that has not expired, got "${id}", which did ${new Date(expiresMs).toISOString()}: issue another`,
      );
    }
    if (find().state !== state) {
      this.#present.transaction(() => {
        if (state === "active") {
          this.#authors.setState(id, state);
          this.#events.append({ type: "author", author: id, state });
        } else this.#agreement.exclude(id, state, Date.now());
      });
      this.#waiting.wakeAll();
      await this.#progress.advance();
    }
    return find();
  }
}
