/** What is said beside buttons. */
import { type Signal, useSignal, useSignalEffect } from "@preact/signals";

/**
 * `fail` says why something was not done; that goes when the edge, which `trouble` tells of, is back after an outage.
 * What `say` says stays.
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
