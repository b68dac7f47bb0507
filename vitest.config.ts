import { availableParallelism } from "node:os";
import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

/**
 * What is polled for may take its time on a machine that does other things: vitest gives up after a second. A process that is
 * killed, or a page that is driven, may once be caught at a moment that nobody thought of: in CI it gets a second try, which
 * its line tells of ("retry x1").
 */
const PATIENCE = {
  expect: { poll: { timeout: 60_000 } },
  retry: process.env.CI ? 1 : 0,
};

/** Tests of these only compute: nothing that one file leaves is seen by the next. */
const COMPUTES = "{api,client,formats,generation,kernels,library,model}";

/** Tests inside the real runtime. Starting one takes longer than most of what is tested in it. */
function inWorkerd(
  name: string,
  test: { include: string[]; exclude?: string[]; isolate: boolean },
) {
  return {
    plugins: [
      cloudflareTest({
        wrangler: { configPath: "./wrangler.toml" },
        miniflare: { bindings: { LOCAL_MODE: "1", REQUEST_LOG: "" } },
      }),
    ],
    test: {
      name,
      ...test,
      testTimeout: 120_000,
      hookTimeout: 120_000,
      ...PATIENCE,
      deps: {
        // itty-durable's ES modules import each other without extensions.
        optimizer: { ssr: { enabled: true, include: ["itty-durable"] } },
      },
    },
  };
}

// `node`: the command line, the client and the checks of the tree itself. `workerd`: everything that runs in the Worker, a
// runtime for each file; `kernels`: what computes there, in one for all files.
export default defineConfig({
  test: {
    globalSetup: "test/support/build.ts",
    // A fifth of a file's time goes by with nothing to do: one more than there are cores keeps them busy.
    maxWorkers: availableParallelism() + 1,
    reporters: process.env.TEST_RESULTS ? ["default", "json"] : ["default"],
    outputFile: { json: process.env.TEST_RESULTS ?? "" },
    projects: [
      inWorkerd("kernels", {
        include: [`test/${COMPUTES}/**/*.test.ts`],
        isolate: false,
      }),
      inWorkerd("workerd", {
        include: ["test/**/*.test.ts"],
        exclude: ["test/node/**", `test/${COMPUTES}/**`],
        isolate: true,
      }),
      {
        test: {
          name: "node",
          include: ["test/node/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          ...PATIENCE,
        },
      },
    ],
  },
});
