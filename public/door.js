// What this is and how it stands, from this very server. A token stays in this page's memory.
const ACCESS = {
  all: "open to this machine",
  token: "closed: a token is needed",
  nobody: "closed: the secret API_TOKEN is not set, so nobody is let in",
};

const byId = (id) => document.getElementById(id);
const show = (id, text) => (byId(id).textContent = text);

/** The answer's JSON; what was refused is thrown with its reason. */
async function get(path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.title);
  return answer;
}

async function showCounts(token) {
  const [{ runs }, { jobs, next }] = await Promise.all([
    get("/v1/runs", token),
    get("/v1/jobs?limit=40", token),
  ]);
  const ended = runs.filter((run) => run.ended).length;
  show("runs", `${runs.length - ended} under way, ${ended} ended`);
  const running = jobs.filter(({ state }) => state === "running").length;
  const more = next === null ? "" : ", and older ones";
  show("jobs", `${running} running, ${jobs.length - running} ended${more}`);
}

/** Says what went wrong in place of leaving it to the console. */
async function tried(body) {
  show("said", "");
  try {
    await body();
  } catch (error) {
    show("said", error.message);
  }
}

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  void tried(() => showCounts(byId("token").value));
});

await tried(async () => {
  const { version, fingerprint, mode, access } = await get("/version");
  show("version", `${version}, kernels ${fingerprint}`);
  show("mode", mode === "local" ? "on this machine" : "deployed");
  show("access", ACCESS[access]);
  if (access === "all") return showCounts();
  show("runs", "only with a token");
  show("jobs", "only with a token");
  byId("enter").hidden = access !== "token";
});
