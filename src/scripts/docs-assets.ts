/** Part of `npm run build`: what /docs needs, next to its page in public/. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const FROM = join(ROOT, "node_modules/swagger-ui-dist");
const TO = join(ROOT, "public/docs");

mkdirSync(TO, { recursive: true });
for (const file of [
  "swagger-ui-bundle.js",
  "swagger-ui.css",
  "LICENSE",
  "NOTICE",
]) {
  copyFileSync(join(FROM, file), join(TO, file));
}
