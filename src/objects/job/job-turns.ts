/**
 * Jobs in the same isolate take turns, so that their memory does not add up. A turn expires unless it is taken again,
 * since its object may be gone.
 */
const TURN_MS = 10_000;
/** Pause before asking again. */
export const TURN_PAUSE_MS = 20;

let turn: { owner: object; untilMs: number; isWanted: boolean } | undefined;

/** Takes or extends the owner's turn; false if another has it. */
export function takeTurn(owner: object): boolean {
  const nowMs = Date.now();
  // The clock may have been set back since.
  if (turn) turn.untilMs = Math.min(turn.untilMs, nowMs + TURN_MS);
  if (turn && turn.owner !== owner && nowMs < turn.untilMs) {
    turn.isWanted = true;
    return false;
  }
  const isWanted = turn?.owner === owner && turn.isWanted;
  turn = { owner, untilMs: nowMs + TURN_MS, isWanted };
  return true;
}

/** Ends the owner's turn. Returns whether others are waiting. */
export function endTurn(owner: object): boolean {
  if (turn?.owner !== owner) return false;
  const { isWanted } = turn;
  turn = undefined;
  return isWanted;
}
