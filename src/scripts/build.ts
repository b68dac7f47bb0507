/** `npm run build`: everything that is compiled or bundled, where it is not as its sources say. */
import { UsageError } from "../cli/file-arguments.ts";
import { ensureBuilt } from "./build/target.ts";
import { BUILD_TARGETS } from "./build/targets.ts";
import { runScript } from "./script.ts";

const ALL = Object.keys(BUILD_TARGETS).join(", ");

await runScript({
  meta: {
    name: "npm run build --",
    description: "Build everything that is out of date",
  },
  args: {},
  operands: {
    name: "target",
    description: `What to build: ${ALL} (default: all)`,
  },
  async run({ args: { _: names } }) {
    const chosen = names.length > 0 ? names : Object.keys(BUILD_TARGETS);
    const built = await ensureBuilt(...chosen.map(targetOf));
    console.log(
      built.length > 0
        ? `built ${built.join(", ")}`
        : "everything is up to date",
    );
  },
});

function targetOf(name: string) {
  if (Object.hasOwn(BUILD_TARGETS, name))
    return BUILD_TARGETS[name as keyof typeof BUILD_TARGETS];
  throw new UsageError(`Expected one of ${ALL}, got ${name}`);
}
