import { defineCommand } from "citty";
import pc from "picocolors";
import { AppError } from "../api/errors.ts";
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
import { listAll } from "./send-files.ts";
import { tell } from "./tell.ts";

const args = {
  name: operand("Of a file of the edge, or of a folder"),
  ...outputArguments,
  output: {
    ...outputArguments.output,
    description: "File or directory to write",
  },
  url: edgeArguments.url,
  token: fileArguments.token,
} as const;

export const downloadCommand = defineCommand({
  meta: {
    name: "download",
    description: "A file or a folder of an edge; after a kill, what is missing",
  },
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const [name, to] = [String(given.name), String(given.output)];
    checkTypedName("<name>", name);
    const edge = new Mxfp4Edge(addressOf(given));
    const found = await listAll(edge, name);
    const file = found.find((entry) => entry.name === name);
    const inFolder = found.filter((entry) => entry.name.startsWith(`${name}/`));
    const bar = new Bar("download");
    const entries = file ? [file] : inFolder;
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    bar.begin(bytes);
    if (file) {
      checkOutput(to, given.force === true);
      await receiveFile(edge, name, to, bar);
    } else if (inFolder.length > 0) {
      checkOutputFolder(to, given.force === true);
      await receiveFolder(edge, name, inFolder, to, bar);
    } else {
      throw new AppError(
        "file_not_found",
        `Expected a file or a folder of the edge, got "${name}"`,
      );
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
