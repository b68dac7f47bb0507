/** The file commands: what they write, refuse and show. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { byteSize } from "../../src/api/byte-size.ts";
import { Bar } from "../../src/cli/bar.ts";
import { type Running, startEdge } from "../../src/local/edge.ts";
import { GGML_TYPE } from "../../src/formats/containers/gguf-types.ts";
import {
  encodePair,
  writeGgufHead,
} from "../../src/formats/containers/gguf-writer.ts";
import { splitGguf } from "../support/split-gguf.ts";
import { normals } from "../support/random.ts";

const MAIN = resolve(import.meta.dirname, "../../src/cli/main.ts");
const FILES = resolve(import.meta.dirname, "../../src/cli/files.ts");
const RAW = ["--dtype", "f32", "--shape", "96,1024"];

let folder: string;
let edge: Running;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mxfp4-commands-test-"));
  writeFileSync(join(folder, "x.raw"), normals(96 * 1024, 1));
  edge = await startEdge({ stateFolder: join(folder, "state"), quiet: true });
});

afterAll(async () => {
  await edge?.close();
  rmSync(folder, { recursive: true, force: true });
});

function mxfp4(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [MAIN, ...args],
    { cwd: folder, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
  );
  return { status, stdout, stderr };
}

function file(name: string): Buffer {
  return readFileSync(join(folder, name));
}

test("here and by an edge, the bytes are the same", () => {
  const options = [
    ...RAW,
    "--preset",
    "paper",
    "--seed",
    "9",
    "--layout",
    "compressed-tensors",
  ];
  const here = mxfp4("quantize", "x.raw", "-o", "here", ...options);
  expect(here).toMatchObject({ status: 0, stdout: "" });
  expect(here.stderr).toMatch(
    /^here: 384\.0 KiB → \d+\.\d KiB \(\d+\.\d %\) in \d+\.\d s\n$/,
  );
  mxfp4("quantize", "x.raw", "-o", "there", ...options, "--url", edge.url);
  expect(file("there").equals(file("here"))).toBe(true);

  mxfp4("dequantize", "here", "-o", "here-bf16", "--dtype", "bf16");
  const back = ["--dtype", "bf16", "--url", `${edge.url}/`];
  mxfp4("dequantize", "there", "-o", "there-bf16", ...back);
  expect(file("there-bf16").equals(file("here-bf16"))).toBe(true);

  const ggml = ["--to", "ggml"];
  mxfp4("repack", "here", "-o", "here-ggml", ...ggml);
  mxfp4("repack", "there", "-o", "there-ggml", ...ggml, "--url", edge.url);
  expect(file("there-ggml").equals(file("here-ggml"))).toBe(true);
  mxfp4("repack", "here-ggml", "-o", "again", "--to", "compressed-tensors");
  expect(file("again").equals(file("here"))).toBe(true);
  expect(mxfp4("repack", "here", "-o", "none").stderr).toContain(
    "Expected --to to be one of gpt-oss, ggml",
  );

  const compare = [...RAW, "--compare", "ocp,paper,scale=even;hadamard=64"];
  const table = mxfp4("analyze", "x.raw", ...compare);
  expect(mxfp4("analyze", "x.raw", ...compare, "--url", edge.url)).toEqual(
    table,
  );
  expect(table.stdout.split("\n")).toMatchObject([
    expect.stringMatching(/^tensor +scheme +SQNR dB +MSE +cosine/),
    expect.stringMatching(/^x \[96, 1024\] +ocp/),
    expect.stringMatching(/^ +paper/),
    expect.stringMatching(/^ +scale=even;hadamard=64/),
    expect.stringMatching(/^\* the first scheme/),
    "",
  ]);
  const json = mxfp4("analyze", "x.raw", ...RAW, "--json").stdout;
  expect(JSON.parse(json)).toMatchObject({ total: { elements: 96 * 1024 } });
});

test("a preset alone has its ecosystem's names, and --layout wins", () => {
  const names = (out: string, ...told: string[]) => {
    expect(mxfp4("quantize", "x.raw", "-o", out, ...RAW, ...told).status).toBe(
      0,
    );
    const bytes = file(out);
    const header = bytes
      .subarray(8, 8 + Number(bytes.readBigUInt64LE()))
      .toString();
    const tensors = Object.keys(JSON.parse(header) as object);
    return tensors.filter((name) => /_(blocks|packed|ggml)$/.test(name));
  };
  expect(names("p1", "--preset", "compressed-tensors")).toEqual(["x_packed"]);
  expect(names("p2", "--preset", "gpt-oss")).toEqual(["x_blocks"]);
  expect(names("p3", "--preset", "ggml")).toEqual(["x_ggml"]);
  expect(
    names("p4", "--preset", "ggml", "--layout", "compressed-tensors"),
  ).toEqual(["x_packed"]);
});

test("GGUF stays GGUF, and is analyzed, here and by an edge", () => {
  const tensor = {
    name: "blk.0.ffn_up.weight",
    dimensions: [1024, 96],
    type: GGML_TYPE.F32,
  };
  const pairs = new Map([
    [
      "general.architecture",
      encodePair("general.architecture", { string: "gpt2" }),
    ],
  ]);
  const { head } = writeGgufHead(pairs, [tensor]);
  writeFileSync(join(folder, "x.gguf"), Buffer.concat([head, file("x.raw")]));
  const table = mxfp4("analyze", "x.gguf", "--preset", "ggml");
  expect(table.stdout.split("\n")).toMatchObject([
    expect.stringMatching(/^tensor +scheme +SQNR dB/),
    expect.stringMatching(/^blk\.0\.ffn_up\.weight \[96, 1024\] +query +\d/),
    "",
  ]);
  expect(
    mxfp4("analyze", "x.gguf", "--preset", "ggml", "--url", edge.url),
  ).toEqual(table);
  expect(
    mxfp4("quantize", "x.gguf", "-o", "y.gguf", "--preset", "ggml").status,
  ).toBe(0);
  mxfp4(
    "quantize",
    "x.gguf",
    "-o",
    "z.gguf",
    "--preset",
    "ggml",
    "--url",
    edge.url,
  );
  expect(file("y.gguf").equals(file("z.gguf"))).toBe(true);
  expect(file("y.gguf").subarray(0, 4).toString()).toBe("GGUF");
  // 17 bytes for each 32 values.
  expect(file("y.gguf").length - (96 * 1024 * 17) / 32).toBeLessThan(2048);
  expect(mxfp4("dequantize", "y.gguf", "-o", "back.gguf").status).toBe(0);
  expect(file("back.gguf").length).toBeGreaterThan(96 * 1024 * 4);
  expect(mxfp4("analyze", "x.gguf").stdout).toContain("blk.0.ffn_up.weight [");
  expect(mxfp4("analyze", "y.gguf")).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringContaining(
      '"blk.0.ffn_up.weight" (MXFP4, quantized already)',
    ) as string,
  });
});

test("of the first part of a split GGUF, all are read: what comes is the whole's, byte for byte", async () => {
  const types = { 0: 1024 * 4, 8: (1024 / 32) * 34 } as const;
  const heads = (
    [
      ["blk.0.ffn_up.weight", 0, 96],
      ["blk.0.ffn_norm.weight", 0, 1],
      ["blk.1.ffn_up.weight", 8, 32],
      ["blk.1.ffn_down.weight", 0, 64],
      ["blk.2.ffn_down.weight", 0, 3],
    ] as const
  ).map(([name, type, rows]) => ({
    name,
    type,
    dimensions: [1024, rows],
    bytes: types[type] * rows,
  }));
  const pairs = new Map([
    [
      "general.architecture",
      encodePair("general.architecture", { string: "llama" }),
    ],
  ]);
  const { head } = writeGgufHead(pairs, heads);
  const data = heads.map(({ bytes, type }, i) =>
    type === 8
      ? Buffer.alloc(bytes, 1)
      : Buffer.from(normals(bytes / 4, i).buffer),
  );
  const whole = Buffer.concat([head, ...data]);
  writeFileSync(join(folder, "whole.gguf"), whole);
  for (const [name, part] of await splitGguf(whole, [0, 2, 3], "cut"))
    writeFileSync(join(folder, name), part);
  const first = "cut-00001-of-00003.gguf";
  for (const told of [
    ["quantize", "--rounding", "stochastic", "--seed", "4"],
    ["dequantize"],
  ]) {
    const [operation, ...options] = told;
    // What is in no block is refused alike: the packed file is taken apart again.
    const names =
      operation === "quantize"
        ? ["whole.gguf", first]
        : ["packed-whole.gguf", "packed-parts-00001-of-00002.gguf"];
    if (operation === "dequantize") {
      for (const [name, part] of await splitGguf(
        file("packed-whole.gguf"),
        [2, 3],
        "packed-parts",
      ))
        writeFileSync(join(folder, name), part);
    }
    const outputs = names.map((name, i) => {
      const output =
        operation === "quantize"
          ? ["packed-whole.gguf", "packed-of-parts.gguf"][i]!
          : `floats-${i}.gguf`;
      expect(mxfp4(operation!, name, "-o", output, ...options)).toMatchObject({
        status: 0,
        stdout: "",
      });
      return file(output);
    });
    expect(outputs[1]!.equals(outputs[0]!)).toBe(true);
  }
  expect(mxfp4("analyze", first)).toEqual(mxfp4("analyze", "whole.gguf"));
  const shown = (name: string) =>
    JSON.parse(mxfp4("inspect", name, "--json").stdout) as {
      tensors: { file: string }[];
    };
  const [own, inParts] = [shown("whole.gguf"), shown(first)];
  expect(inParts.tensors.map((tensor) => tensor.file)).toEqual(
    [2, 2, 3, 3, 3].map((n) => `cut-0000${n}-of-00003.gguf`),
  );
  const placed = inParts.tensors.map((tensor) => ({
    ...tensor,
    file: "whole.gguf",
  }));
  expect({ ...inParts, tensors: placed }).toEqual(own);

  const refused = (...args: string[]) => {
    const { status, stdout, stderr } = mxfp4(...args);
    expect([status, stdout]).toEqual([1, ""]);
    return stderr;
  };
  const third = "cut-00003-of-00003.gguf";
  expect(refused("quantize", first, "-o", third, "--force")).toContain(
    `got ${third}, which is`,
  );
  expect(refused("inspect", third)).toContain(
    `the first of its 3 parts named, ${first}, beside the others, got part 3`,
  );
  expect(
    refused("quantize", first, "-o", "there.gguf", "--url", edge.url),
  ).toContain(
    "got part 1 of 3; merge the parts with `llama-gguf-split --merge`",
  );
  writeFileSync(join(folder, third), file("packed-parts-00002-of-00002.gguf"));
  expect(refused("analyze", first)).toContain(
    `part 3 of the 3 in ${third}, got part 2 of 2`,
  );
  rmSync(join(folder, third));
  expect(refused("dequantize", first, "-o", "none.gguf")).toContain(
    `${third}: it does not exist`,
  );
});

test("help, and what is wrong with a call, is plain text where no terminal reads it", () => {
  const plain = (...args: string[]) => {
    const env = { ...process.env };
    // What citty would take for a wish to have no colours.
    for (const name of ["NO_COLOR", "CI", "TEST", "TERM"]) delete env[name];
    const { stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      encoding: "utf8",
      env,
    });
    return stdout + stderr;
  };
  const help = plain("quantize", "--help");
  expect(help).toMatch(
    /--layout=<LAYOUT> [^]*One of:\s+gpt-oss,\s+ggml,\s+compressed-tensors/,
  );
  const wrong = plain("quantize", "x", "-o", "y", "--hadamard", "48");
  expect(wrong).toContain("Expected --hadamard to be one of 0, 16,");
  expect(wrong).toContain("See `npm run mxfp4-edge -- quantize --help`");
  expect(help + wrong).not.toContain("\u001B");
});

test("a file that is there stays, unless it may be replaced", () => {
  writeFileSync(join(folder, "kept"), "kept");
  const refused = mxfp4("quantize", "x.raw", ...RAW, "-o", "kept");
  expect(refused).toMatchObject({
    status: 1,
    stderr:
      "Expected a new output, got kept, which exists; --force overwrites it\n",
  });
  expect(file("kept").toString()).toBe("kept");
  expect(
    mxfp4("quantize", "x.raw", ...RAW, "-o", "kept", "--force").status,
  ).toBe(0);
  expect(file("kept").length).toBeGreaterThan(1000);
});

test("only a plain file is ever replaced", () => {
  mkdirSync(join(folder, "a-folder"));
  symlinkSync("x.raw", join(folder, "a-link"));
  spawnSync("mkfifo", [join(folder, "a-pipe")]);
  for (const name of ["a-folder", "a-link", "a-pipe"]) {
    const before = lstatSync(join(folder, name));
    const refused = mxfp4("quantize", "x.raw", ...RAW, "-o", name, "--force");
    expect(refused).toMatchObject({
      status: 1,
      stderr: `Expected a new output or a plain file, got ${name}, which is a directory, link or device\n`,
    });
    expect(lstatSync(join(folder, name)).ino).toBe(before.ino);
  }
}, 30_000);

test("patterns that come more than once all count", () => {
  const quantize = (out: string, ...patterns: string[]) =>
    mxfp4("quantize", "x.raw", ...RAW, "-o", out, ...patterns);
  quantize("one", "--include", "x", "--include=?");
  expect(file("one").length).toBeLessThan(96 * 1024);
  for (const patterns of [
    ["x", "yy"],
    ["yy", "x"],
    ["x,yy", "x"],
  ]) {
    const given = patterns.flatMap((each) => ["--include", each]);
    expect(quantize("neither", ...given)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^Expected `include` .* got "yy".*"x"\n$/),
    });
  }
});

test("- is stdin, and stdout", () => {
  const run = (input: Buffer, ...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], {
      cwd: folder,
      input,
      env: { ...process.env, NO_COLOR: "1", TMPDIR: join(folder, "tmp") },
    });
  mkdirSync(join(folder, "tmp"));
  mxfp4("quantize", "x.raw", ...RAW, "-o", "of-a-file");
  const args = ["quantize", "-", ...RAW, "-o", "-"];
  for (const where of [[], ["--url", edge.url]]) {
    const piped = run(file("x.raw"), ...args, ...where);
    expect(piped.status, piped.stderr.toString()).toBe(0);
    expect(piped.stdout.equals(file("of-a-file"))).toBe(true);
  }
  const analyzed = run(file("x.raw"), "analyze", "-", ...RAW);
  expect(analyzed.stdout.toString()).toBe(
    mxfp4("analyze", "x.raw", ...RAW).stdout,
  );
  expect(run(Buffer.from("short"), ...args)).toMatchObject({ status: 1 });
  const packed = file("of-a-file");
  const inspected = run(packed, "inspect", "-", "--json");
  writeFileSync(join(folder, "-"), packed); // which is not meant
  expect(JSON.parse(inspected.stdout.toString())).toEqual(
    JSON.parse(mxfp4("inspect", "./-", "--json").stdout),
  );
  rmSync(join(folder, "-"));
  const before = readdirSync(folder);
  for (const [command, ...rest] of [
    args,
    ["quantize", "-", "-o", "of-nothing"],
    ["quantize", "-", "-o", "of-nothing", "--url", edge.url],
    ["dequantize", "-", "-o", "of-nothing"],
    ["repack", "-", "-o", "of-nothing", "--to", "mlx"],
    ["analyze", "-", "--json"],
    ["inspect", "-"],
  ]) {
    const { status, stdout, stderr } = run(Buffer.of(), command!, ...rest);
    expect(stderr.toString(), command).toMatch(
      /^Expected a file on stdin, got nothing: /,
    );
    expect([status, stdout.length], command).toEqual([1, 0]);
  }
  expect(readdirSync(folder)).toEqual(before);
  expect(readdirSync(join(folder, "tmp"))).toEqual([]);
}, 30_000);

test("what would do nothing is refused, and writes nothing", () => {
  const literal = "{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }";
  const npy = Buffer.from(
    `\x93NUMPY\x01\0\x39\0${literal}${"\0".repeat(9)}`,
    "latin1",
  );
  npy[8] = literal.length;
  writeFileSync(join(folder, "ids.npy"), npy);
  const quantize = (...args: string[]) =>
    mxfp4("quantize", "x.raw", ...RAW, "-o", "nothing", ...args);
  for (const refused of [
    quantize("--exclude", "x"),
    mxfp4("quantize", "ids.npy", "-o", "nothing"),
    mxfp4("dequantize", "ids.npy", "-o", "nothing"),
  ])
    expect(refused).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /^Expected tensors to (de)?quantize, got none but "x" \((F32|U8), .*\)/,
      ),
    });
  expect(readdirSync(folder)).not.toContain("nothing");
});

test("what is not finite stops, and nothing is left; or it is kept, and told", () => {
  const values = normals(64 * 4096, 1);
  values[200_001] = NaN;
  values[200_003] = Infinity;
  writeFileSync(join(folder, "nan.raw"), values);
  const raw = ["--dtype", "f32", "--shape", "64,4096"];
  const before = readdirSync(folder);
  const stopped = mxfp4("quantize", "nan.raw", "-o", "nan-out", ...raw);
  expect(stopped.status).toBe(1);
  expect(stopped.stderr).toContain(
    'tensor "x", got NaN at element 200001, [48, 3393]; `nonfinite` keep lets it pass',
  );
  expect(readdirSync(folder)).toEqual(before);
  const keep = ["--nonfinite", "keep"];
  const kept = mxfp4("quantize", "nan.raw", "-o", "nan-out", ...raw, ...keep);
  expect(kept.status).toBe(0);
  expect(kept.stderr).toContain('kept: 2 values of "x"');
  const back = mxfp4("dequantize", "nan-out", "-o", "nan-back");
  expect(back.status).toBe(1);
  expect(back.stderr).toContain("got NaN at element 200000, [48, 3392];");
  const moved = mxfp4("repack", "nan-out", "-o", "moved", "--to", "ggml");
  expect(moved.status).toBe(1);
  expect(moved.stderr).toContain("scale byte 255, at element 200000,");
  expect(readdirSync(folder)).toEqual([...before, "nan-out"].toSorted());
});

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s in the middle leaves no part of an output",
  async (signal) => {
    const before = readdirSync(folder);
    const script = `
      import { writeWhole } from ${JSON.stringify(FILES)};
      setInterval(() => {}, 1000);
      await writeWhole("ended", (async function* () {
        yield new Uint8Array(9);
        console.log("begun");
        await new Promise(() => {});
      })());`;
    const child = spawn(
      process.execPath,
      ["--input-type=module", "--eval", script],
      { cwd: folder, stdio: ["ignore", "pipe", "inherit"] },
    );
    await once(child.stdout, "data");
    expect(readdirSync(folder).length).toBe(before.length + 1);
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([null, signal]);
    expect(readdirSync(folder)).toEqual(before);
  },
);

test.each([
  [
    "nothing",
    [],
    2,
    "Expected a command (quantize, dequantize, repack, analyze, inspect, upload, download, serve, train, ablation, generate, export, join, runs, runs export, watch, pause, resume, cancel, audit, rewind, tokens, revoke, reinstate, fingerprint, completion), got none",
  ],
  ["no output", ["quantize", "x.raw"], 2, "Expected --output, got none"],
  [
    "an unknown option",
    ["quantize", "x.raw", "-o", "y", "--frob", "1"],
    2,
    "got --frob",
  ],
  [
    "two files",
    ["quantize", "x.raw", "z", "-o", "y"],
    2,
    "Expected <file> alone, got x.raw z",
  ],
  [
    "an unknown value",
    ["quantize", "x.raw", "-o", "y", "--scale", "up"],
    2,
    'Expected --scale to be one of floor, rceil, ceil, even, mse, got "up"',
  ],
  ["a bad seed", ["quantize", "x.raw", "-o", "y", "--seed", "-1"], 2, "--seed"],
  [
    "a shape alone",
    ["quantize", "x.raw", "-o", "y", "--shape", "2"],
    2,
    "both --dtype and --shape",
  ],
  [
    "an option twice",
    ["quantize", "x.raw", "-o", "y", "--output=z"],
    2,
    "Expected --output once, got it 2 times",
  ],
  [
    "an option without a value",
    ["quantize", "x.raw", "-o", "y", "--include"],
    2,
    "Expected a value after --include, got none",
  ],
  [
    "an option in a value's place",
    ["quantize", "x.raw", "-o", "--force"],
    2,
    'Expected a value after -o, got "--force"',
  ],
  [
    "a value that none takes",
    ["quantize", "x.raw", "-o", "y", "--force=no"],
    2,
    'Expected --force without a value, got "no"',
  ],
  [
    "no such folder, before the input is looked at,",
    ["quantize", "none-such", "-o", "nowhere/y"],
    1,
    "Expected a writable folder, got nowhere",
  ],
  [
    "no such file",
    ["quantize", "none", "-o", "y"],
    1,
    "Expected a readable file, got none",
  ],
  [
    "no file of tensors",
    ["quantize", "x.raw", "-o", "y"],
    1,
    "Expected safetensors",
  ],
  [
    "another shape",
    ["quantize", "x.raw", "-o", "y", "--dtype", "f32", "--shape", "2"],
    1,
    "Expected 8 bytes",
  ],
  [
    "no edge",
    ["dequantize", "x.raw", "-o", "y", "--url", "http://127.0.0.1:9"],
    1,
    "Expected an answer from http://127.0.0.1:9, got none: fetch failed",
  ],
  [
    "a URL that is none",
    ["dequantize", "x.raw", "-o", "y", "--url", "localhost:8787"],
    2,
    'Expected --url to be an http or https URL, as in http://127.0.0.1:8787, got "localhost:8787"',
  ],
  [
    "no file for an edge",
    ["quantize", "none", "-o", "y", "--url", "http://127.0.0.1:9"],
    1,
    "Expected a readable file, got none",
  ],
  ...[
    ["quantize", "none", "-o", "y", "--for", "vllm"],
    ["quantize", "none", "--for", "mlx", "--show"],
    ["quantize", "none", "-o", "y", "--max-shard-size", "1GB"],
    ["dequantize", "none", "-o", "y", "--max-shard-size", "1GB"],
    ["repack", "none", "-o", "y", "--to", "mlx", "--max-shard-size", "1GB"],
    ["analyze", "none", "--rotate", "fold"],
  ].map((args): [string, string[], number, string] => [
    `a directory that is not there, of ${args.join(" ")},`,
    args,
    1,
    "Expected a readable file, got none: it does not exist",
  ]),
  ...["quantize", "dequantize"].map(
    (command): [string, string[], number, string] => [
      `a URL that is to be read here, by ${command},`,
      [command, "https://host.example/o/r/resolve/main/", "-o", "y"],
      1,
      "got https://host.example/o/r/resolve/main/: it is not on this machine; `inspect` reads URLs, and an edge converts them in jobs",
    ],
  ),
  [
    "a directory's options of stdin",
    ["quantize", "-", "-o", "y", "--for", "vllm"],
    2,
    "Expected a model's directory for --for",
  ],
  [
    "a folder for an edge",
    ["analyze", ".", "--url", "http://127.0.0.1:9"],
    1,
    "Expected an answer from http://127.0.0.1:9",
  ],
])(
  "%s is refused in a line, and leaves no file",
  (_, args, status, message) => {
    const before = readdirSync(folder);
    const refused = mxfp4(...args);
    expect(refused.stderr).toContain(message);
    expect(refused.stderr).not.toMatch(/\n +at /);
    expect(refused).toMatchObject({ status, stdout: "" });
    expect(readdirSync(folder)).toEqual(before);
  },
  30_000,
);

test("memory does not grow with the file", () => {
  const peak = (name: string, megabytes: number) => {
    const path = join(folder, name);
    writeFileSync(path, "");
    truncateSync(path, megabytes * 2 ** 20);
    const args = [
      "quantize",
      path,
      "-o",
      `${path}.out`,
      "--dtype",
      "f32",
      "--shape",
      `${megabytes},512,512`,
    ];
    const script = `process.argv.splice(1, 0, "main"); await import(${JSON.stringify(MAIN)}); console.log(process.resourceUsage().maxRSS)`;
    const { stdout } = spawnSync(
      process.execPath,
      ["--input-type=module", "--eval", script, ...args],
      { encoding: "utf8" },
    );
    expect(readFileSync(`${path}.out`).length).toBeGreaterThan(
      megabytes * 100_000,
    );
    rmSync(path);
    rmSync(`${path}.out`);
    return Number(stdout);
  };
  const small = peak("small", 16);
  expect(peak("large", 512) - small).toBeLessThan(64 * 1024);
});

test("a bar is drawn on a terminal, and nowhere else", () => {
  const drawn = (isTTY: boolean) => {
    let text = "";
    const out = { isTTY, write: (more: string) => ((text += more), true) };
    const bar = new Bar("quantize", out as never);
    bar.begin(100);
    bar.skip(50);
    bar.end();
    return text;
  };
  expect(drawn(true)).toContain(
    `quantize ${"█".repeat(15)}${"░".repeat(15)} 50 %  0 B/s`,
  );
  expect(drawn(false)).toBe("");
  expect([0, 1023, 1024, 1.5 * 2 ** 30].map(byteSize)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 GiB",
  ]);
});
