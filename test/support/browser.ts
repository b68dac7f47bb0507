/** A headless Chromium, where there is one. CI installs it; elsewhere the tests that need it are passed over. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { text } from "node:stream/consumers";
import { type Browser, chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
/** It asks nobody, and does nothing by itself. */
const QUIET = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const FLAGS = [
  ...QUIET,
  "--headless",
  "--disable-gpu",
  "--remote-debugging-port=0", // keeps it running
];
const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
};

/** The browser's program; in CI its absence is a failure, not a reason to pass over. */
export const browser: string | undefined = NAMES.find(
  (name) => spawnSync(name, ["--version"]).status === 0,
);
export const isBrowserExpected = browser !== undefined || !!process.env.CI;

/** A browser to be driven; whoever launches it closes it. */
export function launchBrowser(): Promise<Browser> {
  const { stdout } = spawnSync("which", [browser!], { encoding: "utf8" });
  const executablePath = stdout.trim();
  return chromium.launch({ executablePath, args: QUIET });
}

/** What `page`, served from `folder`, posts to /answer. */
export async function answerOf(folder: string, page: string): Promise<string> {
  const { promise: answer, resolve, reject } = Promise.withResolvers<string>();
  const server = createServer((request, response) => {
    if (request.method === "POST") {
      void text(request).then(resolve, reject);
      response.end();
      return;
    }
    const file = join(
      folder,
      normalize(new URL(request.url!, "http://x").pathname),
    );
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      "Content-Type": TYPES[extname(file)] ?? "text/plain",
    });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((listening) =>
    server.listen(0, "127.0.0.1", listening),
  );
  const { port } = server.address() as AddressInfo;
  const profile = `--user-data-dir=${join(folder, "chromium")}`;
  const url = `http://127.0.0.1:${port}/${page}`;
  const chromium = spawn(browser!, [...FLAGS, profile, url], {
    stdio: "ignore",
  });
  const ended = once(chromium, "exit");
  try {
    const early = ended.then(([code]) => {
      throw new Error(`Chromium ended with ${code} before the page answered`);
    });
    return await Promise.race([answer, early]);
  } finally {
    chromium.kill();
    await ended;
    server.closeAllConnections();
    server.close();
  }
}
