/** How a person calls a command here: by npm in a clone, by its name where the package is installed. */
import { IS_CLONE } from "../local/places.ts";

/** Scripts of package.json that are commands too. */
const SCRIPTS: Record<string, string> = {
  ablation: "npm run ablation",
  gradients: "npm run gradients",
  sample: "npm run sample",
  serve: "npm start",
  train: "npm run train",
};

/** `command` with `options` behind it, as it can be typed here; of no command, what all have in common. */
export function called(command: string, options = ""): string {
  const script = IS_CLONE ? SCRIPTS[command] : undefined;
  if (script !== undefined)
    return options === "" ? script : `${script} -- ${options}`;
  const name = IS_CLONE ? "npm run mxfp4-edge --" : "mxfp4-edge";
  return [name, command, options].filter(Boolean).join(" ");
}
