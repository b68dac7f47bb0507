import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { DatasetPage } from "../../src/api/dataset.ts";
import type { ServiceVersion } from "../../src/api/service-version.ts";
import type { FilePage } from "../../src/api/tensors.ts";
import { VERSION } from "../../src/api/version.ts";
import type { Env } from "../../src/http/env.ts";
import {
  RequestCounts,
  requestCounts,
} from "../../src/http/service/request-counts.ts";
import { fingerprint } from "../../src/kernels/matmul.ts";
import { problemOf, send } from "./support.ts";

const CLOSED = { LOCAL_MODE: undefined, API_TOKEN: "secret" };

describe("GET /version", () => {
  test.each([
    [{ EDGE: "local" }, "local", "all"],
    [{ API_TOKEN: "secret" }, "deployed", "token"],
    [{ ...CLOSED, EDGE: "local" }, "local", "token"],
    [CLOSED, "deployed", "token"],
    [{ LOCAL_MODE: undefined }, "deployed", "nobody"],
  ] as [Partial<Env>, string, string][])(
    "%o is %s and open to %s",
    async (changes, mode, access) => {
      const response = await send("/version", {}, changes);
      const version = await response.json<ServiceVersion>();
      expect(version).toMatchObject({ version: VERSION, mode, access });
      expect(version.fingerprint).toBe(fingerprint());
      const { arithmetic, fusesMultiplyAdd } = version.kernels;
      expect(version.fingerprint).toBe(
        `${arithmetic}-${fusesMultiplyAdd ? "fma" : "nofma"}`,
      );
    },
  );
});

test("every answer tells the server's time, which clients' clocks may be far from", async () => {
  for (const path of ["/healthz", "/v1/nothing", "/v1/runs"]) {
    const { headers } = await send(path);
    const toldMs = Date.parse(headers.get("Date") ?? "");
    expect(Math.abs(toldMs - Date.now())).toBeLessThan(60_000);
  }
});

describe("a request's id", () => {
  test("is new each time, in the answer and in the problem", async () => {
    const ids = new Set<string>();
    for (const path of ["/healthz", "/v1/nothing", "/v1/nothing"]) {
      const response = await send(path);
      const id = response.headers.get("X-Request-Id")!;
      expect(id).toMatch(/^[0-9a-f-]{36}$/);
      ids.add(id);
      if (path === "/healthz") continue;
      const problem = await problemOf(response, 404, "route_not_found");
      expect(problem).toMatchObject({ requestId: id });
    }
    expect(ids.size).toBe(3);
  });

  test("is the client's own, if it is short and plain", async () => {
    const idFor = async (own: string) => {
      const headers = { "X-Request-Id": own };
      const response = await send("/healthz", { headers });
      return response.headers.get("X-Request-Id");
    };
    expect(await idFor("build-17_a=")).toBe("build-17_a=");
    for (const own of ["x".repeat(65), "a b", 'a"b', "<a>"])
      expect(await idFor(own)).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("is in answers that objects made, and in a refusal of a token", async () => {
    const answers = [
      await send("/v1/runs/nobody/events"),
      await send("/v1/runs", {}, CLOSED),
    ];
    for (const answer of answers)
      expect(answer.headers.get("X-Request-Id")).not.toBeNull();
  });
});

describe("the log of requests", () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  beforeEach(() => log.mockClear());
  afterEach(() => log.mockClear());

  const lines = () =>
    log.mock.calls.map(([line]) => JSON.parse(line as string) as object);

  test("has a line of JSON each, without query and token", async () => {
    const init = {
      method: "PUT",
      body: "0123456789",
      headers: { Authorization: "Bearer secret", "Content-Length": "10" },
    };
    const changes = { ...CLOSED, REQUEST_LOG: "1" };
    const response = await send("/v1/files/logged?x=private", init, changes);
    const text = await response.text();
    expect(lines()).toEqual([
      {
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
        requestId: response.headers.get("X-Request-Id"),
        path: "/v1/files/logged",
        method: "PUT",
        route: "/v1/files/{file}",
        status: 422,
        receivedBytes: 10,
        sentBytes: text.length,
        ms: expect.any(Number) as number,
      },
    ]);
    expect(log.mock.calls.join()).not.toMatch(/private|secret/);
  });

  test("tells of what is no route, and of refusals", async () => {
    const changes = { ...CLOSED, REQUEST_LOG: "1" };
    await send("/v1/nothing", {}, changes);
    await send("/v1/runs/nobody", {}, changes);
    expect(lines()).toMatchObject([
      { route: "none", status: 401 },
      { route: "/v1/runs/{run}", status: 401 },
    ]);
  });

  test("is written where it is asked for only", async () => {
    await send("/healthz");
    await send("/healthz", {}, { REQUEST_LOG: "0" });
    expect(log).not.toHaveBeenCalled();
  });
});

/** The value of a metric's line. */
function value(text: string, line: string): number {
  const found = text.split("\n").find((each) => each.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length + 1));
}

describe("GET /metrics", () => {
  const metrics = async () => (await send("/metrics")).text();

  test("counts requests by route and status, their bytes and durations", async () => {
    const before = await metrics();
    const head = "x".repeat(7);
    await send("/v1/quantize?dtype=f32&shape=1", {
      method: "POST",
      body: head,
      headers: { "Content-Length": "7" },
    });
    await send("/v1/nothing");
    const after = await metrics();
    const grew = (line: string) => value(after, line) - value(before, line);
    const route = 'route="/v1/quantize",method="POST"';
    expect(grew(`mxfp4_edge_requests_total{${route},status="415"}`)).toBe(1);
    expect(
      grew('mxfp4_edge_requests_total{route="none",method="GET",status="404"}'),
    ).toBe(1);
    expect(grew(`mxfp4_edge_received_bytes_total{${route}}`)).toBe(7);
    expect(grew(`mxfp4_edge_sent_bytes_total{${route}}`)).toBeGreaterThan(99);
    const durations = `mxfp4_edge_request_duration_seconds`;
    expect(grew(`${durations}_count{${route}}`)).toBe(1);
    expect(grew(`${durations}_bucket{${route},le="+Inf"}`)).toBe(1);
  });

  test("is text that Prometheus reads, with the ledger, runs and jobs", async () => {
    const response = await send("/metrics");
    expect(response.headers.get("Content-Type")).toBe(
      "text/plain; version=0.0.4; charset=utf-8",
    );
    const text = await response.text();
    const described = new Set<string>();
    for (const line of text.trimEnd().split("\n")) {
      const [, name] = /^# (?:HELP|TYPE) (\w+) \S/.exec(line) ?? [];
      if (name) described.add(name);
      else {
        const [, sample] =
          /^(\w+?)(?:_bucket|_sum|_count)?(?:\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? [0-9.e+-]+$/.exec(
            line,
          ) ?? [];
        expect(described, line).toContain(sample);
      }
    }
    for (const name of ["memory_held_bytes", "runs", "jobs"])
      expect(described).toContain(`mxfp4_edge_${name}`);
    expect(value(text, "mxfp4_edge_memory_held_bytes")).toBeGreaterThanOrEqual(
      0,
    );
  });

  test("buckets hold what took up to their ends, and labels are escaped", () => {
    const counts = new RequestCounts();
    const answered = {
      method: "GET",
      route: 'a"\\\n',
      status: 200,
      receivedBytes: null,
      sentBytes: 3,
    };
    for (const seconds of [0.005, 0.006, 2, 99])
      counts.add({ ...answered, seconds });
    const lines = counts.lines();
    const bucket = (end: string) =>
      lines
        .find((line) => line.includes(`le="${end}"`))
        ?.split(" ")
        .at(-1);
    expect(
      ["0.005", "0.01", "1", "2.5", "30", "+Inf"].map((end) => bucket(end)),
    ).toEqual(["1", "2", "2", "3", "3", "4"]);
    expect(lines.join("\n")).toContain(
      'requests_total{route="a\\"\\\\\\n",method="GET",status="200"} 4',
    );
    expect(requestCounts.lines().join("\n")).not.toContain('a\\"');
  });
});

describe("lists", () => {
  test("of files: by name, with a prefix, in pages", async () => {
    for (const name of ["list-b", "list-a", "list-c", "lost"]) {
      const init = {
        method: "PUT",
        body: name,
        headers: { "Content-Length": `${name.length}` },
      };
      expect((await send(`/v1/files/${name}`, init)).status).toBe(201);
    }
    const page = async (query: string) =>
      (await send(`/v1/files?${query}`)).json<FilePage>();
    const first = await page("prefix=list-&limit=2");
    expect(first.files).toMatchObject([
      { name: "list-a", bytes: 6 },
      { name: "list-b", bytes: 6 },
    ]);
    expect(first.next).toBe("list-b");
    await send("/v1/files/list-a", { method: "DELETE" });
    const second = await page(`prefix=list-&limit=2&cursor=${first.next}`);
    expect(second.files.map(({ name }) => name)).toEqual(["list-c"]);
    expect(second.next).toBeNull();
    expect((await page("prefix=nothing")).files).toEqual([]);
    const all = (await page("")).files.map(({ name }) => name);
    expect(all).toEqual(expect.arrayContaining(["list-b", "list-c", "lost"]));
  });

  test("of datasets: by name, in pages", async () => {
    for (const name of ["text-b", "text-a", "text-c"]) {
      const init = {
        method: "PUT",
        body: name,
        headers: { "Content-Length": `${name.length}` },
      };
      expect((await send(`/v1/datasets/${name}`, init)).status).toBe(201);
    }
    const page = async (query: string) =>
      (await send(`/v1/datasets?${query}`)).json<DatasetPage>();
    const first = await page("limit=2&cursor=text-");
    expect(first.datasets.map(({ name }) => name)).toEqual([
      "text-a",
      "text-b",
    ]);
    expect(first.datasets[0]).toEqual(
      await (await send("/v1/datasets/text-a")).json(),
    );
    const second = await page(`limit=2&cursor=${first.next}`);
    expect(second).toMatchObject({
      datasets: [{ name: "text-c" }],
      next: null,
    });
  });

  test.each([
    ["files", []],
    ["datasets", ["cursor=a/b/c"]],
  ])("of %s refuse other pages", async (list, others) => {
    for (const query of ["limit=0", "limit=1001", "page=2", ...others])
      await problemOf(
        await send(`/v1/${list}?${query}`),
        422,
        "invalid_option",
      );
  });
});
