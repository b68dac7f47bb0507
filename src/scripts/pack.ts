/** `npm run pack`: the package that users install, as a tarball in build/. */
import { runScript } from "./script.ts";

await runScript({
  meta: {
    name: "npm run pack --",
    description:
      "Make the package that users install, and print the path of its tarball",
  },
  args: {},
  async run() {
    const { packPackage } = await import("./build-package.ts");
    console.log(await packPackage());
  },
});
