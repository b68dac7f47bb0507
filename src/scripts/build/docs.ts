/** What /docs needs, next to its page in public/. */
import type { BuildTarget } from "./target.ts";

const FROM = "node_modules/swagger-ui-dist";
const TO = "public/docs";
const FILES = ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"];

export const docs: BuildTarget = {
  name: "docs",
  async make(read) {
    const outputs = FILES.map((file): [string, Uint8Array] => {
      const bytes = read(`${FROM}/${file}`);
      if (!bytes) throw new Error(`Expected ${FROM}/${file}; run \`npm ci\``);
      return [`${TO}/${file}`, bytes];
    });
    return new Map(outputs);
  },
};
