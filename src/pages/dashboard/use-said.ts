/** Messages beside buttons. */
import { type Signal, useSignal, useSignalEffect } from "@preact/signals";

/**
 * `fail` reports why something failed; that message is cleared when the edge is reachable again after an outage, which
 * `trouble` reports. Messages of `say` stay.
 */
export function useSaid(trouble: Signal<string>) {
  const said = useSignal("");
  const isFailure = useSignal(false);
  const isOut = useSignal(false);
  const say = (text: string) => {
    isFailure.value = false;
    said.value = text;
  };
  const fail = (text: string) => {
    isFailure.value = true;
    said.value = text;
  };
  useSignalEffect(() => {
    const isTrouble = trouble.value !== "";
    if (isOut.peek() && !isTrouble && isFailure.peek()) say("");
    isOut.value = isTrouble;
  });
  return { said, say, fail };
}
