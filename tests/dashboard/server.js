/**
 * Real servers for the tests: the binary, a data directory that goes away, a free port. `test` is Playwright's with two
 * fixtures that the tests of a worker share: `upstream` serves simulated models, `server` is the one whose page is looked
 * at and calls it as any provider. A test that kills one, or needs an empty one, starts its own with `own`.
 */
import { test as base, expect } from "@playwright/test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";

const BINARY = resolve(process.env.LONGHAUL_BIN ?? "../../target/debug/longhaul");
/** Set: the page comes from this directory instead of from the binary, for work on the page without a build. */
const DIST = process.env.LONGHAUL_DIST ? resolve(process.env.LONGHAUL_DIST) : undefined;

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  return port;
}

export class Server {
  #child;

  constructor(directory, port) {
    this.directory = directory;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(configuration, environment = {}) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: cargo build -p longhaul, or set LONGHAUL_BIN`);
    const directory = mkdtempSync(join(tmpdir(), "longhaul-dashboard-"));
    const port = await freePort();
    const head = `[server]\nlisten = "127.0.0.1:${port}"\ndrain = "1s"\n[store]\nurl = "sqlite:${directory}/data"\n`;
    writeFileSync(join(directory, "longhaul.toml"), head + configuration);
    const server = new Server(directory, port);
    server.environment = environment;
    await server.begin();
    return server;
  }

  async begin() {
    this.#child = spawn(BINARY, ["serve", "--config", join(this.directory, "longhaul.toml")], { cwd: this.directory, env: { ...process.env, ...this.environment }, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    this.#child.stderr.on("data", (bytes) => (said = (said + bytes).slice(-4_000)));
    await expect
      .poll(async () => {
        if (this.#child.exitCode !== null) throw new Error(`the server ended: ${said}`);
        return fetch(`${this.url}/readyz`).then((answer) => answer.status, () => 0);
      }, { timeout: 60_000 })
      .toBe(200);
  }

  get pid() {
    return this.#child.pid;
  }

  /** SIGTERM: it takes no more work in, and goes when what runs has ended or its time is up. */
  terminate() {
    this.#child.kill("SIGTERM");
  }

  get hasEnded() {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** kill -9: no goodbye to anybody. */
  async kill() {
    if (this.hasEnded) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }

  async end() {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async post(path, body) {
    const answer = await fetch(this.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** Of `method`, with what came back whatever its status. */
  async call(method, path, body, headers = {}) {
    const answer = await fetch(this.url + path, { method, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? null : JSON.parse(text) };
  }

  async get(path) {
    return (await fetch(this.url + path)).json();
  }
}

const UPSTREAM = `
[providers.quick]
protocol = "sim"
sim = "quick"
[models.upstream]
[[models.upstream.targets]]
provider = "quick"
model = "sim-large"
`;

export const configuration = (upstream = "http://127.0.0.1:9") => `
[providers.elsewhere]
protocol = "openai"
flavor = "compatible"
base_url = "${upstream}/v1"
[providers.slow]
protocol = "sim"
sim = { first_token = { ms = 50 }, tokens_per_second = 20, min_tokens = 40, max_tokens = 48 }
[providers.slowest]
protocol = "sim"
sim = { first_token = { ms = 50 }, tokens_per_second = 8, min_tokens = 40, max_tokens = 48 }

[providers.endless]
protocol = "sim"
sim = { first_token = { ms = 50 }, tokens_per_second = 4, min_tokens = 2000, max_tokens = 2000 }
[models.endless]
[[models.endless.targets]]
provider = "endless"
model = "sim-small"

[models.smart]
[[models.smart.targets]]
name = "first"
provider = "elsewhere"
model = "upstream"
attempt_timeout = "10s"
retry = { max_retries = 0 }
breaker = { failures = 3, open_for = "10m" }
[[models.smart.targets]]
otherwise = "The assistant is away for a moment."

[models.slowly]
[[models.slowly.targets]]
provider = "slow"
model = "sim-small"

[models.slowest]
[[models.slowest.targets]]
provider = "slowest"
model = "sim-small"
`;

/**
 * A provider as OpenAI is one, whose answers break: with `refuse` in what is asked it says no, with `break` its stream does
 * after the first words, else all is well. `close` ends it.
 */
export async function breakable() {
  const chunk = (delta, finish_reason = null) => ({ id: "c", object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason }] });
  const error = { error: { message: "the model caught fire", type: "server_error" } };
  const provider = createHttpServer(async (request, response) => {
    const asked = (await request.toArray()).join("");
    if (asked.includes("refuse")) return response.writeHead(500, { "content-type": "application/json" }).end(JSON.stringify(error));
    response.writeHead(200, { "content-type": "text/event-stream" });
    const last = asked.includes("break") ? [error] : [chunk({}, "stop")];
    for (const event of [chunk({ content: "It is " }), ...last]) response.write(`data: ${JSON.stringify(event)}\n\n`);
    response.end("data: [DONE]\n\n");
  });
  await once(provider.listen(0, "127.0.0.1"), "listening");
  const configuration = `
[providers.breakable]
protocol = "openai"
flavor = "compatible"
base_url = "http://127.0.0.1:${provider.address().port}/v1"
[models.breakable]
[[models.breakable.targets]]
provider = "breakable"
model = "any"
retry = { max_retries = 1, initial = "10ms", max = "20ms" }
breaker = { failures = 1000 }
`;
  return { configuration, close: () => provider.close() };
}

const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8" };

async function serveFrom(context, dist) {
  await context.route(/\/(assets\/.*|favicon\.svg)$/, (route) => {
    const path = join(dist, new URL(route.request().url()).pathname);
    return route.fulfill({ body: readFileSync(path), headers: { "content-type": TYPES[extname(path)] } });
  });
  await context.route((url) => url.pathname === "/" || url.pathname.startsWith("/ui/"), async (route) => {
    const real = await route.fetch();
    // The server's own headers, its content security policy among them.
    const headers = { ...real.headers(), "content-type": TYPES[".html"] };
    delete headers["content-length"];
    delete headers["content-encoding"];
    return route.fulfill({ body: readFileSync(join(dist, "index.html")), headers });
  });
}

export const test = base.extend({
  upstream: [
    async ({}, use) => {
      const server = await Server.start(UPSTREAM);
      await use(server);
      await server.end();
    },
    { scope: "worker", timeout: 90_000 },
  ],
  server: [
    async ({ upstream }, use) => {
      const server = await Server.start(configuration(upstream.url));
      await use(server);
      await server.end();
    },
    { scope: "worker", timeout: 90_000 },
  ],
  /** Starts servers for one test alone, and ends them with it. */
  own: async ({}, use) => {
    const started = [];
    await use(async (...given) => {
      const server = await Server.start(...given);
      started.push(server);
      return server;
    });
    for (const server of started) await server.end();
  },
  page: async ({ page, context }, use) => {
    if (DIST) await serveFrom(context, DIST);
    const faults = [];
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("console", (message) => {
      if (message.text().includes("Content Security Policy")) faults.push(message.text());
    });
    // Nothing is asked of any other host than the one that the page is from.
    page.on("request", (request) => {
      const [url, from] = [new URL(request.url()), request.isNavigationRequest() ? request.url() : page.url()];
      if (/^(http|ws)s?:$/.test(url.protocol) && from !== "about:blank" && url.host !== new URL(from).host) faults.push(`asked ${url}`);
    });
    await use(page);
    expect(faults).toEqual([]);
  },
});

/** A job of `kind` that the test itself holds as `worker`: its id and what its calls carry. */
export async function hold(server, kind, worker = "w1") {
  await server.call("PUT", `/v1/kinds/${kind}`, { description: "does as it is told" });
  const { job_id } = await server.post("/v1/jobs", { kind, input: {} });
  return { job_id, ...(await claim(server, kind, worker)) };
}

export async function claim(server, kind, worker) {
  const asked = { worker_id: worker, kinds: [kind], max: 1, wait_s: 10, lease_s: 60 };
  const [job] = (await server.call("POST", "/v1/worker/claims", asked)).body.jobs;
  return { job_id: job.job_id, lease: { "longhaul-lease": job.lease_token } };
}

/** What a worker says of a job that it holds. */
export async function tell(server, { job_id, lease }, what, body = {}) {
  const { status, body: answer } = await server.call("POST", `/v1/worker/jobs/${job_id}/${what}`, body, lease);
  if (status !== 200) throw new Error(`${what}: ${status} ${JSON.stringify(answer)}`);
  return answer;
}

export const chat = (model, words = "night trains") => ({ model, stream: true, messages: [{ role: "user", content: words }] });

export { expect };
