/** A headless Chromium, where there is one. CI installs it; elsewhere the tests that need it are passed over. */
import { execFile, spawnSync } from "node:child_process";
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { promisify } from "node:util";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Waits for what the page awaits, by a clock that stands still while it works.
  "--virtual-time-budget=60000",
  "--dump-dom",
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

/** What `page`, served from `folder`, has written into its body once it is at rest. */
export async function bodyOf(folder: string, page: string): Promise<string> {
  const server = createServer((request, response) => {
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
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/${page}`;
    const profile = `--user-data-dir=${join(folder, "chromium")}`;
    const { stdout } = await promisify(execFile)(browser!, [
      ...FLAGS,
      profile,
      url,
    ]);
    return /<body>([\s\S]*)<\/body>/.exec(stdout)![1]!.trim();
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
