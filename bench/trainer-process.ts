/** Trainers of these names in a process of its own, as `mxfp4-edge join` has them; tells its parent of each microbatch that they have done. */
import { joinThreads } from "../src/cli/joined-threads.ts";

// One that is killed ends no child by itself: trainers that nobody counts would go on asking for work.
process.on("disconnect", () => process.exit());

const [baseUrl, run, ...trainers] = process.argv.slice(2);
await joinThreads(
  { baseUrl: baseUrl!, token: undefined, run: run! },
  trainers,
  ({ step, kind, index }) => process.send?.({ step, kind, index }),
  () => {},
).ended;
process.exit();
