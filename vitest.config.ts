import { availableParallelism } from "node:os";
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

/** What is polled for may take its time on a machine that does other things: vitest gives up after a second. */
const PATIENT = { poll: { timeout: 60_000 } };

// `workerd`: everything that runs in the Worker, kernels included, inside the real runtime.
// `node`: the command line, the client and the checks of the tree itself.
export default defineConfig({
  test: {
    globalSetup: "test/support/build.ts",
    // Half the time of a test's file goes by waiting for processes that it has started: no core is left for vitest alone.
    maxWorkers: availableParallelism(),
    reporters: process.env.TEST_RESULTS ? ["default", "json"] : ["default"],
    outputFile: { json: process.env.TEST_RESULTS ?? "" },
    projects: [
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: { bindings: { LOCAL_MODE: "1", REQUEST_LOG: "" } },
          }),
        ],
        test: {
          name: "workerd",
          include: ["test/**/*.test.ts"],
          exclude: ["test/node/**"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: PATIENT,
          deps: {
            // itty-durable's ES modules import each other without extensions.
            optimizer: { ssr: { enabled: true, include: ["itty-durable"] } },
          },
        },
      },
      {
        test: {
          name: "node",
          include: ["test/node/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          expect: PATIENT,
        },
      },
    ],
  },
});
