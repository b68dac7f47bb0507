/** How to call a command: by npm in a clone, by its name if the package is installed. */
import { IS_CLONE } from "../local/places.ts";

/** Commands that are also scripts of package.json. */
const SCRIPTS: Record<string, string> = {
  ablation: "npm run ablation",
  gradients: "npm run gradients",
  sample: "npm run sample",
  serve: "npm start",
  train: "npm run train",
};

/** `command` with `options`, as it can be typed here; without a command, the common prefix. */
export function called(command: string, options = ""): string {
  const script = IS_CLONE ? SCRIPTS[command] : undefined;
  if (script !== undefined)
    return options === "" ? script : `${script} -- ${options}`;
  const name = IS_CLONE ? "npm run mxfp4-edge --" : "mxfp4-edge";
  return [name, command, options].filter(Boolean).join(" ");
}
