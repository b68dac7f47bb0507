/**
 * Loaded before a script of package.json, and in plain JavaScript, so that a Node that cannot run the
 * script says so in one line. What it must have: it runs TypeScript, as does what the tools bring along.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const runsTypeScript =
  major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18);
if (!runsTypeScript) {
  console.error(
    `Expected Node 22.18 or later, got ${process.versions.node}: \`npm ci\` brings one for Linux on x64 and arm64; elsewhere install it from https://nodejs.org`,
  );
  process.exit(1);
}
