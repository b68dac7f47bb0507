/** Who may train in a run: its join tokens, and what trainers must compute like. */
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
  issue: flag("Issue one, which is told this once, and list none"),
  days: valued(
    "N",
    "How long the one that is issued opens the run (default: 7)",
  ),
  ...edgeArguments,
} satisfies ArgsDef;

export const tokensCommand = defineCommand({
  meta: {
    name: "tokens",
    description:
      "The join tokens of a run, and who is under quarantine; or a new one",
  },
  args: tokensArgs,
  async run(context) {
    const given = checkArguments(context, tokensArgs);
    if (given.days !== undefined && !given.issue) {
      throw new UsageError("Expected --days with --issue, got it alone");
    }
    if (given.issue) {
      const expiresInMs = DAY_MS * wholeNumber("days", given.days ?? "7", 1);
      const issued = await refusedAsTyped(
        runOf(given).joinToken({ expiresInMs }),
      );
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

export const revokeCommand = tokenCommand(
  "revoke",
  "End a join token at once; what its trainers told of the present step is void",
  "revoked",
);
export const reinstateCommand = tokenCommand(
  "reinstate",
  "Take a join token back, from quarantine or after it was revoked",
  "active",
);

function tokenCommand(
  name: string,
  description: string,
  state: "active" | "revoked",
) {
  const args = {
    ...runArgument,
    id: operand("Id of the token; `mxfp4-edge tokens` lists them"),
    ...edgeArguments,
  } satisfies ArgsDef;
  return defineCommand({
    meta: { name, description },
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
  set: valued(
    "TEXT",
    "What trainers must compute like (`GET /version` tells one's)",
  ),
  reset: flag("What the next trainer that comes brings"),
  ...edgeArguments,
} satisfies ArgsDef;

export const fingerprintCommand = defineCommand({
  meta: {
    name: "fingerprint",
    description:
      "What a run's trainers must compute like; with another, its present step is computed again",
  },
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
      () => fingerprint ?? "none: the next trainer brings it",
    );
  },
});
