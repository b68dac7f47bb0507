/** llama.cpp's own library on a model with an encoder, by a program in C that calls it. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { judge } from "../judges/install.ts";

/** It is compiled where it runs. */
export const HAS_C_COMPILER =
  spawnSync("cc", ["--version"], { stdio: "ignore" }).status === 0;

/** Logits f32 [decoded][vocabulary], each behind those before it. */
export function encoderDecoderLogits(
  model: string,
  vocabulary: number,
  encoded: readonly number[],
  decoded: readonly number[],
): Float64Array[] {
  const libraries = join(
    judge("node-llama-cpp"),
    "../@node-llama-cpp/linux-x64/bins/linux-x64",
  );
  const named = (stem: string) =>
    readdirSync(libraries).find((file) =>
      new RegExp(`^${stem}\\.(so|v[\\d.]+\\.so)`).test(file),
    )!;
  const folder = mkdtempSync(join(tmpdir(), "mxfp4-encoder-decoder-"));
  try {
    const program = join(folder, "encoder-decoder");
    const source = join(import.meta.dirname, "../judges/encoder-decoder.c");
    execFileSync("cc", ["-O1", "-o", program, source, "-ldl"]);
    const out = execFileSync(
      program,
      [
        libraries,
        named("libggml"),
        named("libllama"),
        model,
        `${vocabulary}`,
        encoded.join(),
        decoded.join(),
      ],
      { stdio: ["ignore", "pipe", "ignore"] },
    );
    const values = new Float32Array(Uint8Array.from(out).buffer);
    return decoded.map((_, i) =>
      Float64Array.from(values.subarray(i * vocabulary, (i + 1) * vocabulary)),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
