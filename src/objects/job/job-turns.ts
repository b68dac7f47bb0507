/**
 * Jobs that share an isolate take turns, so that their memory does not add up. A turn that is not taken
 * again ends by itself: the object that had it may be gone.
 */
const TURN_MS = 10_000;
/** How long to wait before asking again. */
export const TURN_PAUSE_MS = 20;

let turn: { owner: object; untilMs: number; isWanted: boolean } | undefined;

/** Whether it is the owner's turn, which then goes on. */
export function takeTurn(owner: object): boolean {
  if (turn && turn.owner !== owner && Date.now() < turn.untilMs) {
    turn.isWanted = true;
    return false;
  }
  const isWanted = turn?.owner === owner && turn.isWanted;
  turn = { owner, untilMs: Date.now() + TURN_MS, isWanted };
  return true;
}

/** Returns whether others wait. */
export function endTurn(owner: object): boolean {
  if (turn?.owner !== owner) return false;
  const { isWanted } = turn;
  turn = undefined;
  return isWanted;
}
