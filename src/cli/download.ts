import { defineCommand } from "citty";
import pc from "picocolors";
import { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { byteSize } from "../api/byte-size.ts";
import { operand } from "./argument.ts";
import { Bar } from "./bar.ts";
import { checkOutputFolder } from "./directory-output.ts";
import { addressOf, checkTypedName, edgeArguments } from "./edge-arguments.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";
import { checkOutput } from "./files.ts";
import { receiveFile, receiveFolder } from "./receive-files.ts";
import { filesOf } from "./send-files.ts";
import { tell } from "./tell.ts";

const args = {
  name: operand("Name of a file or a folder of the edge"),
  ...outputArguments,
  output: {
    ...outputArguments.output,
    description: "File or directory to write",
  },
  url: edgeArguments.url,
  token: fileArguments.token,
} as const;

export const downloadCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const [name, to] = [String(given.name), String(given.output)];
    checkTypedName("<name>", name);
    const edge = new Mxfp4Edge(addressOf(given));
    const { isFolder, entries } = await filesOf(edge, name);
    const bar = new Bar("download");
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    bar.begin(bytes);
    if (isFolder) {
      checkOutputFolder(to, given.force === true);
      await receiveFolder(edge, name, entries, to, bar);
    } else {
      checkOutput(to, given.force === true);
      await receiveFile(edge, name, to, bar);
    }
    bar.end();
    const { seconds } = bar;
    tell(
      given.json === true,
      `${pc.bold(to)}: ${byteSize(bytes)} in ${seconds.toFixed(1)} s`,
      { output: to, files: entries.length, bytesWritten: bytes, seconds },
    );
  },
});
