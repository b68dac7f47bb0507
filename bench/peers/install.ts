import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const FOLDER = resolve(import.meta.dirname, "..");

type Manifest = { version: string; dependencies: Record<string, string> };

/**
 * The peers, if they are not there in the versions that `bench/package.json` pins. They are
 * dependencies of that file alone, so users never install them.
 */
export function installPeers(): void {
  const { dependencies } = manifest(FOLDER);
  const missing = Object.entries(dependencies).filter(([name, version]) => {
    const folder = join(FOLDER, "node_modules", name);
    return !existsSync(folder) || manifest(folder).version !== version;
  });
  if (missing.length === 0) return;
  console.error("installing the peers: npm ci --prefix bench");
  execFileSync("npm", ["ci", "--prefix", FOLDER], {
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
}

function manifest(folder: string): Manifest {
  return JSON.parse(
    readFileSync(join(folder, "package.json"), "utf8"),
  ) as Manifest;
}
