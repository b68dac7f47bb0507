import { basename, resolve } from "node:path";
import { defineCommand } from "citty";
import pc from "picocolors";
import { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { byteSize } from "../api/byte-size.ts";
import { operand, valued } from "./argument.ts";
import { Bar } from "./bar.ts";
import { addressOf, checkTypedName, edgeArguments } from "./edge-arguments.ts";
import {
  checkArguments,
  fileArguments,
  outputArguments,
} from "./file-arguments.ts";
import { allSendingsOf, sendFiles } from "./send-files.ts";
import { tell } from "./tell.ts";

const args = {
  path: operand("A file, or a directory, which becomes a folder"),
  url: edgeArguments.url,
  token: fileArguments.token,
  name: valued("NAME", "Name on the edge (default: the same name)"),
  json: outputArguments.json,
} as const;

export const uploadCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const path = String(given.path);
    const told = given.name as string | undefined;
    if (told !== undefined) checkTypedName("--name", told);
    const name = told ?? basename(resolve(path));
    const bar = new Bar("upload");
    const sendings = await allSendingsOf(path, name);
    const sent = await sendFiles(
      new Mxfp4Edge(addressOf(given)),
      sendings,
      name,
      bar,
    );
    bar.end();
    const files = sent.files === 1 ? "1 file" : `${sent.files} files`;
    const there = sent.present > 0 ? `, ${sent.present} of them there` : "";
    const { seconds } = bar;
    tell(
      given.json === true,
      `${pc.bold(name)}: ${files}${there}, ${byteSize(sent.bytes)} in ${seconds.toFixed(1)} s`,
      { name, ...sent, seconds },
    );
  },
});
