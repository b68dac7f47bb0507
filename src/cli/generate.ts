import { type ArgsDef, defineCommand } from "citty";
import type { GenerateRequest } from "../api/generation.ts";
import { Mxfp4Edge } from "../client/mxfp4-edge.ts";
import { DEFAULT_SAMPLING, samplingOf } from "../generation/sampler.ts";
import { WEIGHT_FORMATS, type WeightFormat } from "../kernels/decode.ts";
import { flag, oneOf, operand, valued } from "./argument.ts";
import { addressOf, clientOf, edgeArguments } from "./edge-arguments.ts";
import { wholeNumber } from "./numbers.ts";
import {
  type Arguments,
  asTyped,
  checkArguments,
  refusedAsTyped,
  UsageError,
} from "./file-arguments.ts";
import { localModel, openWriter, writePieces } from "./local-text.ts";
import { namedModel } from "./named-model.ts";
import { printAnswer } from "./print-answer.ts";
import { filesOf } from "./send-files.ts";
import { converse, type Write } from "./talk.ts";

const args = {
  model: operand(
    "A model's directory, a GGUF, a run's checkpoint or the folder in which `train` has kept it; with --url, the id of a run, or with --folder what the edge's files hold",
  ),
  prompt: valued(
    "TEXT",
    "Start of the text (default: an interactive session, in which you and the model write in turns)",
  ),
  "max-tokens": valued("N", "Tokens to write", 200),
  weights: oneOf(
    WEIGHT_FORMATS,
    "Compute with f32 weights, or pack them to MXFP4 first",
    "f32",
  ),
  temperature: valued(
    "X",
    "Sampling temperature; 0 always takes the likeliest token",
    DEFAULT_SAMPLING.temperature,
  ),
  "top-k": valued(
    "N",
    "Sample from the N likeliest tokens only",
    DEFAULT_SAMPLING.topK,
  ),
  "top-p": valued(
    "X",
    "Of those, sample from the likeliest that together have this probability",
    DEFAULT_SAMPLING.topP,
  ),
  repetition: valued(
    "X",
    "Repetition penalty: divides the logits of earlier tokens",
    DEFAULT_SAMPLING.repetition,
  ),
  stop: valued("TEXT", "Stop before this text"),
  seed: valued(
    "N",
    "Seed of sampling; the same options give the same text on every machine",
    DEFAULT_SAMPLING.seed,
  ),
  folder: flag(
    "With --url: the model is a folder, a checkpoint or a GGUF in the edge's files",
  ),
  ...edgeArguments,
  url: { ...edgeArguments.url, description: "Generate on this edge" },
} satisfies ArgsDef;

type Options = Omit<GenerateRequest, "prompt"> & { maxTokens: number };

export const generateCommand = defineCommand({
  args,
  async run(context) {
    const given = checkArguments(context, args);
    const options = optionsOf(given);
    const prompt = given.prompt as string | undefined;
    if (given.json && prompt === undefined)
      throw new UsageError(
        "Expected --prompt with --json, since an interactive session has no JSON output, got none",
      );
    const writer = await writerOf(given, options);
    const write: Write = (...told) =>
      refusedAsTyped(writer(...told), ["invalid_option"]);
    if (prompt === undefined) {
      await checkModel(given);
      return converse(write);
    }
    let text = "";
    // Print nothing before the request is accepted.
    let isBegun = given.json === true;
    const begin = (): void => {
      if (!isBegun) process.stdout.write(prompt);
      isBegun = true;
    };
    const put = (piece: string): void => {
      begin();
      text += piece;
      if (!given.json) process.stdout.write(piece);
    };
    const ending = await write(prompt, put);
    begin();
    printAnswer(given.json, { prompt, text, ...ending }, () => "");
  },
});

/** Errors: `UsageError` */
function optionsOf(given: Arguments): Options {
  const number = (name: string): number => {
    const text = String(given[name]);
    const value = Number(text);
    if (text.trim() !== "" && Number.isFinite(value)) return value;
    throw new UsageError(`Expected --${name} to be a number, got "${text}"`);
  };
  const { stop } = given as { stop?: string };
  const told = {
    temperature: number("temperature"),
    topK: number("top-k"),
    topP: number("top-p"),
    repetition: number("repetition"),
    seed: number("seed"),
  };
  return {
    ...asTyped(() => samplingOf(told)),
    maxTokens: wholeNumber("max-tokens", given["max-tokens"], 1),
    weights: given.weights as WeightFormat,
    ...(stop === undefined ? {} : { stop: [stop] }),
  };
}

async function writerOf(given: Arguments, options: Options): Promise<Write> {
  const model = given.model as string;
  const isRemote = given.url !== undefined || given.folder === true;
  if (!isRemote) {
    const writer = await openWriter(
      await localModel(namedModel(model, "generate")),
      options.weights,
    );
    return async (prompt, put, signal) => {
      const told = { ...options, prompt, ...(signal && { signal }) };
      const pieces = writePieces(writer, told);
      for (;;) {
        const { value, done } = await pieces.next();
        if (done) return value;
        put(value);
      }
    };
  }
  return async (prompt, put, signal) => {
    const request = { ...options, prompt };
    const events = given.folder
      ? new Mxfp4Edge(addressOf(given)).generate(model, request)
      : clientOf(given).run(model).generate(request);
    for await (const event of events) {
      if (!("text" in event)) return event;
      if (signal?.aborted) return undefined;
      put(event.text);
    }
    throw new Error("Expected a complete text, got a stream that broke off");
  };
}

/**
 * Checks that the edge has the model before an interactive session starts. Errors: `run_not_found`, `file_not_found`
 */
async function checkModel(given: Arguments): Promise<void> {
  const model = given.model as string;
  if (given.folder) await filesOf(new Mxfp4Edge(addressOf(given)), model);
  else if (given.url !== undefined) await clientOf(given).run(model).status();
}
