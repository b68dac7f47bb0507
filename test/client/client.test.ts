import { describe, expect, test } from "vitest";
import { decodeFrame, encodeFrame } from "../../src/api/frame.ts";
import { encodeFrameDelta } from "../../src/api/frame-delta.ts";
import { Client } from "../../src/client/client.ts";
import type { Fetcher } from "../../src/client/http.ts";
import { isRetryableStatus, pauseMs } from "../../src/client/retry.ts";
import type { TrainingService } from "../../src/training/service.ts";

type Answer = Response | Error;

/** Answers with these, one after the other, and notes what was asked. */
function clientOf(answers: Answer[], patienceMs?: number) {
  const requests: { url: string; init: RequestInit }[] = [];
  const fetcher: Fetcher = {
    fetch(url, init = {}) {
      requests.push({ url, init });
      const answer = answers.shift() ?? new Error("nothing left");
      return answer instanceof Error
        ? Promise.reject(answer)
        : Promise.resolve(answer);
    },
  };
  const client = new Client({
    baseUrl: "http://test",
    fetcher,
    token: "secret",
    patienceMs,
  });
  return { client, requests };
}

function problem(status: number, code: string): Response {
  return new Response(JSON.stringify({ code, detail: "Expected x, got y" }), {
    status,
    headers: { "Content-Type": "application/problem+json" },
  });
}

test("a run's client is what a trainer needs", () => {
  const { client } = clientOf([]);
  client.run("x") satisfies TrainingService;
});

test("what may pass is tried again: a lost connection, 408, 425, 429, 5xx", async () => {
  const { client, requests } = clientOf([
    new Error("Network connection lost."),
    problem(425, "step_not_reached"),
    new Response("", { status: 408 }),
    new Response("", { status: 429 }),
    new Response("bad gateway", { status: 502 }),
    Response.json({ run: "x" }),
  ]);
  expect(await client.run("x").status()).toEqual({ run: "x" });
  expect(requests).toHaveLength(6);
  expect(new Headers(requests[0]!.init.headers).get("Authorization")).toBe(
    "Bearer secret",
  );
});

test("what would come again is told at once, with its code", async () => {
  const { client, requests } = clientOf([problem(410, "run_ended")]);
  await expect(client.run("x").status()).rejects.toMatchObject({
    name: "AppError",
    code: "run_ended",
    message: "Expected x, got y",
  });
  expect(requests).toHaveLength(1);
});

test("an answer that is no problem document tells the request and the status", async () => {
  const { client } = clientOf([new Response("<html>", { status: 404 })]);
  await expect(client.run("x").status()).rejects.toThrow(
    "[GET] /v1/runs/x: 404",
  );
});

test("an answer that breaks off, or comes damaged, is asked for again", async () => {
  const broken = () =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode('{"step":'));
          controller.error(new TypeError("terminated"));
        },
      }),
    );
  const { client } = clientOf([
    broken(),
    new Response('{"step":'),
    Response.json({ step: 3 }),
  ]);
  expect(await client.run("x").status()).toEqual({ step: 3 });

  const frame = await encodeFrame(
    {
      kind: "parameters",
      dtype: "f32",
      step: 1,
      microbatch: 0,
      start: 0,
      length: 1,
    },
    new Uint8Array(4),
  );
  const pulled = clientOf([
    broken(),
    new Response(frame.slice(0, 66)),
    new Response(frame.with(65, 1)),
    new Response(frame),
  ]);
  const { payload } = await pulled.client.run("x").pull(0, 1);
  expect(payload).toEqual(new Uint8Array(4));
  expect(pulled.requests.length).toBe(4);
});

test("a checkpoint that breaks off asks once what has become of it, and says that or that it broke off", async () => {
  const brokenOff = (headers: Record<string, string>) =>
    new Response("abc", { headers: { "Content-Length": "4", ...headers } });
  const location = "/v1/runs/x/checkpoint?format=gguf&step=3&timeline=a-1";
  const told = { "Content-Location": location };
  const read = async (headers: Record<string, string>, again: Response[]) => {
    const { client, requests } = clientOf([brokenOff(headers), ...again]);
    const answer = await client.run("x").checkpoint({ format: "gguf" });
    await expect(answer.text()).rejects.toMatchObject({
      name: "AppError",
      ...(again[0]?.status === 410
        ? { code: "step_gone", message: "Expected x, got y" }
        : { code: "unavailable", message: "Expected 4 bytes, got 3" }),
    });
    return requests.map(({ url }) => url.replace("http://test", ""));
  };
  const path = "/v1/runs/x/checkpoint?format=gguf";
  expect(await read({}, [])).toEqual([path]);
  for (const again of [
    problem(410, "step_gone"),
    problem(503, "overloaded"),
    problem(503, "unavailable"),
    new Response("abcd", { headers: told }),
  ])
    expect(await read(told, [again])).toEqual([path, location]);
});

test("patience ends", async () => {
  const { client, requests } = clientOf(
    Array.from({ length: 100 }, () => problem(503, "unavailable")),
    200,
  );
  await expect(client.run("x").status()).rejects.toMatchObject({
    code: "unavailable",
  });
  expect(requests.length).toBeGreaterThan(2);
  expect(requests.length).toBeLessThan(12);
});

test("a signal ends the request under way and the waits", async () => {
  const stop = new AbortController();
  const client = new Client({
    baseUrl: "http://test",
    signal: stop.signal,
    fetcher: {
      fetch: (_url, init) =>
        new Promise((_resolve, reject) => {
          init!.signal!.addEventListener("abort", () =>
            reject(new Error("aborted")),
          );
        }),
    },
  });
  const status = client.run("x").status();
  stop.abort(new Error("enough"));
  await expect(status).rejects.toThrow("enough");
});

test("a created run gets its id before the first try, so that a repeat is the same run", async () => {
  const { client, requests } = clientOf([
    new Error("lost"),
    Response.json({ run: "x" }, { status: 201 }),
  ]);
  await client.createRun({ dataset: "text" });
  const [first, second] = requests.map(
    ({ init }) => JSON.parse(init.body as string) as { run: string },
  );
  expect(first!.run).toMatch(/^run-[a-z0-9-]+$/);
  expect(second).toEqual(first);
});

test("events go on over broken connections, each once, until there are no more", async () => {
  const text = (...ids: number[]): string =>
    ids.map((id) => `id: ${id}\nevent: state\ndata: {"id":${id}}\n\n`).join("");
  const stream = (chunks: string[], error?: Error): Response =>
    new Response(
      new ReadableStream<Uint8Array>({
        pull(controller) {
          const chunk = chunks.shift();
          if (chunk !== undefined) {
            controller.enqueue(new TextEncoder().encode(chunk));
          } else if (error) controller.error(error);
          else controller.close();
        },
      }),
    );
  const first = text(1, 2);
  const { client, requests } = clientOf([
    // Cut within an event, which comes again whole.
    stream(
      ["retry: 500\n\n", first.slice(0, 10), first.slice(10), "id: 3\nda"],
      new Error("lost"),
    ),
    stream([": still here\n\n", text(3)]),
    new Error("refused"),
    stream([text(4)]),
    new Response(null, { status: 204 }),
  ]);
  const ids: number[] = [];
  for await (const { id } of client.run("x").events()) ids.push(id);
  expect(ids).toEqual([1, 2, 3, 4]);
  const asked = requests.map(({ init }) =>
    new Headers(init.headers).get("Last-Event-ID"),
  );
  expect(asked).toEqual(["0", "2", "3", "3", "4"]);
});

describe("what is no event", () => {
  const events = (text: string) =>
    new Response(text, { headers: { "Content-Type": "text/event-stream" } });

  const eventsOf = async (...answers: Answer[]) => {
    const { client, requests } = clientOf(answers, 200);
    const ids: number[] = [];
    const all = (async () => {
      for await (const { id } of client.run("x").events()) ids.push(id);
    })();
    const error = await all.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return { ids, error, requests };
  };

  test.each([
    ["no JSON", "data: {id: 2}", "malformed_json", /got "\{id: 2\}"$/],
    ["cut JSON", 'data: {"id":', "malformed_json", /numeric `id`/],
    ["no id", 'data: {"step":1}', "malformed_json", /numeric `id`/],
    ["another id", 'data: {"id":"2"}', "malformed_json", /numeric `id`/],
    ["null", "data: null", "malformed_json", /got "null"$/],
  ])("%s ends it at once", async (_, block, code, message) => {
    const { ids, error, requests } = await eventsOf(
      events(`data: {"id":1}\n\n${block}\n\n`),
    );
    expect(ids).toEqual([1]);
    expect(error).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(requests).toHaveLength(1);
  });

  test("a page is refused", async () => {
    const headers = { "Content-Type": "text/html" };
    const { error } = await eventsOf(new Response("<p>\n\n", { headers }));
    expect(error).toMatchObject({ code: "malformed_body" });
  });

  test("connections that tell nothing are given up, and not without a pause", async () => {
    const answers = Array.from({ length: 999 }, () => events(""));
    const { error, requests } = await eventsOf(...answers);
    expect(error).toMatchObject({ code: "unavailable" });
    expect(requests.length).toBeLessThan(20);
  });
});

test("what is overloaded is not asked again", async () => {
  const { client, requests } = clientOf([problem(503, "overloaded")]);
  await expect(client.run("x").status()).rejects.toMatchObject({
    code: "overloaded",
  });
  expect(requests).toHaveLength(1);
});

test.each([
  "",
  "127.0.0.1:8787",
  "/v1",
  "not a url",
  "htp://edge",
  "ftp://edge",
  "file:///edge",
  "http://edge:99999",
  "http://user:secret@edge",
  "http://edge?x=1",
  "http://edge#x",
  undefined,
])("no client of %o", (baseUrl) => {
  expect(() => new Client({ baseUrl: baseUrl as string })).toThrow(
    `Expected \`baseUrl\` to be an http or https URL, as in http://127.0.0.1:8787, got ${JSON.stringify(String(baseUrl))}`,
  );
});

test("no client of a token that a header cannot hold", () => {
  const baseUrl = "http://edge";
  for (const token of ["a\nb", "a b", "é"])
    expect(() => new Client({ baseUrl, token })).toThrow("Expected `token`");
});

test("slashes at the end of its URL are none of its paths", async () => {
  let asked = "";
  const fetcher: Fetcher = {
    async fetch(url) {
      asked = url;
      return Response.json({});
    },
  };
  await new Client({ baseUrl: "http://edge/a//", fetcher }).run("x").status();
  expect(asked).toBe("http://edge/a/v1/runs/x");
});

test("pauses double from 20 ms to 500 ms, with jitter over their upper half", () => {
  expect([0, 1, 2, 3, 4, 5, 9].map((n) => pauseMs(n, 1))).toEqual([
    20, 40, 80, 160, 320, 500, 500,
  ]);
  expect(pauseMs(5, 0)).toBe(250);
});

test("only 408, 425, 429 and 5xx are worth another try", () => {
  const statuses = [
    200, 400, 401, 404, 408, 409, 410, 413, 422, 425, 429, 500, 503,
  ];
  expect(statuses.filter(isRetryableStatus)).toEqual([408, 425, 429, 500, 503]);
});

test("a difference that came damaged is asked for again, whole", async () => {
  const frame = (step: number, byte: number) =>
    encodeFrame(
      {
        kind: "parameters",
        dtype: "bf16",
        step,
        microbatch: 0,
        start: 0,
        length: 64,
      },
      new Uint8Array(128).fill(byte),
    );
  const [before, after] = [await frame(0, 16), await frame(1, 17)];
  const { digest } = await decodeFrame(before.slice());
  const delta = encodeFrameDelta(before, after)!;
  const answer = (bytes: Uint8Array<ArrayBuffer>, isDelta: boolean) =>
    new Response(bytes, { headers: isDelta ? { "Frame-Base": digest } : {} });
  const damaged = delta.slice();
  damaged[damaged.length - 1]! ^= 1;
  const pull = async (...answers: Response[]) => {
    const { client, requests } = clientOf(answers);
    const base = await decodeFrame(before.slice());
    const options = { base, rewinds: 2, waitMs: 1000 };
    const { payload } = await client.run("x").pull(0, 1, options);
    expect(payload).toEqual((await decodeFrame(after.slice())).payload);
    // Each asks for the same, and waits as long for it.
    for (const { url } of requests)
      expect(url).toMatch(/\?step=1&rewinds=2&waitMs=1000$/);
    return requests.map(({ init }) =>
      new Headers(init.headers).get("Frame-Base"),
    );
  };
  expect(await pull(answer(delta, true))).toEqual([digest]);
  expect(await pull(answer(after, false))).toEqual([digest]);
  expect(await pull(answer(damaged, true), answer(after, false))).toEqual([
    digest,
    null,
  ]);
});
