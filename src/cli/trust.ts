/** Commands for join tokens and the required fingerprint of a run. */
import { type ArgsDef, defineCommand } from "citty";
import type { JoinToken } from "../api/run-status.ts";
import { flag, operand, valued } from "./argument.ts";
import { alignedRows } from "./aligned-rows.ts";
import { edgeArguments, runArgument, runOf } from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import {
  checkArguments,
  refusedAsTyped,
  UsageError,
} from "./file-arguments.ts";
import { printAnswer } from "./print-answer.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

const tokensArgs = {
  ...runArgument,
  issue: flag("Issue a token and print it; it cannot be shown again"),
  days: valued("N", "With --issue: days until the token expires (default: 7)"),
  ...edgeArguments,
} satisfies ArgsDef;

export const tokensCommand = defineCommand({
  args: tokensArgs,
  async run(context) {
    const given = checkArguments(context, tokensArgs);
    if (given.days !== undefined && !given.issue) {
      throw new UsageError("Expected --days with --issue, got --days alone");
    }
    if (given.issue) {
      const lasting =
        given.days === undefined
          ? {}
          : { expiresInMs: DAY_MS * wholeNumber("days", given.days, 1) };
      const issued = await refusedAsTyped(runOf(given).joinToken(lasting));
      printAnswer(given.json, issued, ({ token }) => token);
      return;
    }
    const tokens = await runOf(given).joinTokens();
    printAnswer(given.json, tokens, renderTokens);
  },
});

function renderTokens(tokens: readonly JoinToken[]): string {
  if (tokens.length === 0) return "no join tokens";
  return alignedRows(
    [
      ["token", "state", "expires"],
      ...tokens.map(({ id, state, expiresMs }) => [
        id,
        state === "active" && expiresMs !== null && expiresMs <= Date.now()
          ? "expired"
          : state,
        expiresMs === null ? "-" : new Date(expiresMs).toISOString(),
      ]),
    ],
    [0, 1, 2],
  );
}

export const revokeCommand = tokenCommand("revoked");
export const reinstateCommand = tokenCommand("active");

function tokenCommand(state: "active" | "revoked") {
  const args = {
    ...runArgument,
    id: operand("Id of the token; `mxfp4-edge tokens` lists them"),
    ...edgeArguments,
  } satisfies ArgsDef;
  return defineCommand({
    args,
    async run(context) {
      const given = checkArguments(context, args);
      const token = await runOf(given).setTokenState(given.id as string, state);
      printAnswer(given.json, token, ({ id, state }) => `${id} is ${state}`);
    },
  });
}

const fingerprintArgs = {
  ...runArgument,
  set: valued("TEXT", "Require this fingerprint (`GET /version` shows one)"),
  reset: flag("Require the fingerprint of the next trainer that joins"),
  ...edgeArguments,
} satisfies ArgsDef;

export const fingerprintCommand = defineCommand({
  args: fingerprintArgs,
  async run(context) {
    const given = checkArguments(context, fingerprintArgs);
    if (given.set !== undefined && given.reset) {
      throw new UsageError("Expected --set or --reset, got both");
    }
    const run = runOf(given);
    const { fingerprint } =
      given.set === undefined && !given.reset
        ? await run.status()
        : await refusedAsTyped(
            run.setFingerprint((given.set as string | undefined) ?? null),
          );
    printAnswer(
      given.json,
      { fingerprint },
      () => fingerprint ?? "none: the next trainer that joins sets it",
    );
  },
});
