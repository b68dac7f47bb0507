/** How a person calls a command here: by npm in a clone, by its name where the package is installed. */
import { IS_CLONE } from "../local/places.ts";

/** Scripts of package.json that are commands too. */
const SCRIPTS: Record<string, string> = {
  ablation: "npm run ablation",
  serve: "npm start",
  train: "npm run train",
};

/** `command` with `options` behind it, as it can be typed here. */
export function called(command: string, options = ""): string {
  if (!IS_CLONE) return `mxfp4-edge ${command} ${options}`.trimEnd();
  const script = SCRIPTS[command];
  if (script === undefined)
    return `npm run mxfp4-edge -- ${command} ${options}`.trimEnd();
  return options === "" ? script : `${script} -- ${options}`;
}
