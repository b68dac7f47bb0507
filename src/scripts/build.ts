/** `npm run build`: everything that is compiled or bundled, where it is not as its sources say. */
import { ensureBuilt } from "./build/target.ts";
import { TARGETS } from "./build/targets.ts";

const names = process.argv.slice(2);
try {
  const chosen = names.length > 0 ? names : Object.keys(TARGETS);
  const targets = chosen.map((name) => {
    if (Object.hasOwn(TARGETS, name))
      return TARGETS[name as keyof typeof TARGETS];
    throw new Error(
      `Expected one of ${Object.keys(TARGETS).join(", ")}, got ${name}`,
    );
  });
  const built = await ensureBuilt(...targets);
  console.log(
    built.length > 0 ? `built ${built.join(", ")}` : "all is built already",
  );
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
