/** The connection behind the page: what is lost, late, dead, or not meant for it. */
import { chat, configuration, expect, hold, tell, test } from "./server.js";

const SOCKET = /\/v1\/events\/ws$/;
const badge = (page) => page.locator(".foot [role=status]");

/**
 * Stands between the page and the server. `toPage(message, send)` and `toServer(message, send)` pass on what comes, or
 * something else, or nothing; what is sent goes as JSON. Counts connections.
 */
async function between(page, { toPage = (message, send) => send(message), toServer = (message, send) => send(message) }) {
  const seen = { connections: 0 };
  await page.routeWebSocket(SOCKET, (route) => {
    seen.connections += 1;
    const server = route.connectToServer();
    const pass = (to) => (message) => to.send(JSON.stringify(message));
    route.onMessage((text) => toServer(JSON.parse(String(text)), pass(server), pass(route)));
    server.onMessage((text) => toPage(JSON.parse(String(text)), pass(route)));
  });
  return seen;
}

const numbers = async (page) => (await page.locator(".events .one > :first-child").allTextContents()).map(Number);

/** That the page shows what is stored: every event but the deltas, and the whole text. */
async function showsAll(page, server, job_id) {
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded", { timeout: 60_000 });
  const { data } = await server.get(`/v1/jobs/${job_id}/events?limit=1000`);
  const stored = data.filter((event) => event.type !== "job.output.delta").map((event) => event.seq);
  await expect.poll(() => numbers(page)).toEqual(stored);
  const text = data.map((event) => event.data.text ?? "").join("");
  await expect(page.locator(".stream")).toHaveText(text);
}

const UNAVAILABLE = { type: "error", code: "unavailable", message: "the store cannot answer now; try again" };
for (const [name, word] of [
  ["a lag", { type: "stream.lagged" }],
  ["an error of the store", UNAVAILABLE],
  ["an end that is none", { type: "stream.end" }],
]) {
  test(`${name} in mid-stream is read over: the page asks again after the last event, and misses nothing`, async ({ page, server }) => {
    const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("slowest") });
    const asked = [];
    let isCut = false;
    let last = 0;
    await between(page, {
      toPage: (message, send) => {
        if (isCut && message.job_id === job_id) return;
        send(message);
        if (message.job_id !== job_id || typeof message.seq !== "number") return;
        last = message.seq;
        if (asked.length > 1 || message.type !== "job.output.delta") return;
        isCut = true;
        send({ ...word, job_id });
      },
      toServer: (message, send) => {
        if (message.op === "subscribe" && message.job_id === job_id) {
          asked.push(message.after);
          isCut = false;
        }
        send(message);
      },
    });
    await page.goto(`${server.url}/ui/jobs/${job_id}`);
    await expect.poll(() => asked.length).toBeGreaterThan(1);
    expect(asked[1]).toBeLessThanOrEqual(last);
    expect(asked[1]).toBeGreaterThan(0);
    await showsAll(page, server, job_id);
    await expect(page.getByText("the store cannot answer now")).toHaveCount(0);
  });
}

test("going to a job that was followed already brings its whole history, whatever is still on the wire", async ({ page, server }) => {
  // Everything from the server is late, in order: the old subscription's events come when the new one is awaited.
  const waiting = [];
  const told = [];
  await between(page, {
    toPage: (message, send) => {
      told.push(message);
      waiting.push(() => send(message));
      setTimeout(() => waiting.shift()(), 400);
    },
  });
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("llm.chat");
  await form.getByLabel("Input").fill(JSON.stringify(chat("slowest")));
  await form.getByRole("button", { name: "Send" }).click();
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent.locator(".stream")).toContainText("simulated");
  await sent.getByRole("link", { name: "its whole life" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("llm.chat");
  const job_id = new URL(page.url()).pathname.split("/").at(-1);
  await showsAll(page, server, job_id);
  // To another page and back when all is over: there is nothing to unsubscribe from, and that is no failure.
  await page.goBack();
  await page.goForward();
  await showsAll(page, server, job_id);
  await expect(page.locator(".events .bad")).toHaveCount(0);
  expect(told.filter((message) => message.type === "subscribed" && message.job_id === job_id).length).toBeGreaterThan(1);
});

test("figures that are old are not judged by: the page says how old, and why", async ({ page, own }) => {
  const server = await own(configuration());
  let isAway = false;
  await between(page, {
    toPage: (message, send) => {
      const isFigures = message.topic === "stats" && "jobs" in message;
      send(isAway && isFigures ? { type: "error", code: "unavailable", topic: "stats", message: "the store does not answer" } : message);
    },
  });
  await page.goto(server.url);
  const alerts = page.getByRole("region", { name: "Alerts" });
  await expect(alerts).toContainText("Nothing needs attention");
  isAway = true;
  await expect(alerts).toContainText("The figures are old: the store does not answer.");
  await expect(alerts).toContainText(/They are \d+ s old/);
  await expect(alerts).not.toContainText("Nothing needs attention");
  isAway = false;
  await expect(alerts).toContainText("Nothing needs attention");
});

test("a connection that is dead is noticed on every page, and one that is quiet is kept", async ({ page, server }) => {
  await page.clock.install();
  const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("endless") });
  let [isDead, pongs] = [false, 0];
  const seen = await between(page, {
    toPage: (message, send) => {
      if (message.type === "pong") pongs += 1;
      if (!isDead) send(message);
    },
    toServer: (message, send) => {
      if (!isDead) send(message);
    },
  });
  // A list of jobs follows nothing: nothing comes but answers.
  await page.goto(`${server.url}/ui/playground`);
  await expect(badge(page)).toHaveText("live");
  for (let round = 0; round < 4; round += 1) {
    const before = pongs;
    await page.clock.runFor(7_500);
    await expect.poll(() => pongs).toBeGreaterThan(before);
  }
  expect(seen.connections).toBe(1);
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");
  const before = seen.connections;
  isDead = true;
  await page.clock.runFor(5_000);
  // Enough for a question, for the wait for its answer, and for the pause before the next try.
  await expect.poll(async () => (await page.clock.runFor(2_500), seen.connections)).toBeGreaterThan(before);
  isDead = false;
  await expect.poll(async () => (await page.clock.runFor(2_500), badge(page).textContent())).toBe("live");
  await server.post(`/v1/jobs/${job_id}/cancel`, {});
});

test("a server that goes down in good order is left alone until it is back", async ({ page, own }) => {
  const server = await own(configuration(), { LONGHAUL__SERVER__DRAIN: "6s" });
  // Something that keeps it until its time is up.
  await server.post("/v1/jobs", { kind: "llm.chat", input: chat("endless") });
  const tries = [];
  page.on("websocket", () => tries.push(Date.now()));
  await page.goto(server.url);
  await expect(badge(page)).toHaveText("live");
  const [before, from] = [tries.length, Date.now()];
  server.terminate();
  await expect(badge(page)).toHaveText("disconnected");
  // It answers still, and opens no connection any more.
  const said = [];
  await expect
    .poll(async () => {
      const status = await fetch(`${server.url}/v1/queues`).then((answer) => answer.status, () => 0);
      said.push([status, await badge(page).textContent()]);
      return server.hasEnded;
    }, { intervals: [100] })
    .toBe(true);
  const took = Date.now() - from;
  expect(said.filter(([status]) => status === 200).length, "it drained for a while").toBeGreaterThan(5);
  expect(said.map(([, state]) => state).filter((state) => state === "live")).toEqual([]);
  // Pauses that double from half a second: about three in six seconds.
  expect(tries.length - before, `in ${took} ms`).toBeLessThanOrEqual(7);
  await server.begin();
  await expect(badge(page)).toHaveText("live");
});

const ADMIN = `lh_first_${"k".repeat(32)}`;

async function keyed(own) {
  const server = await own(configuration(), { LONGHAUL_BOOTSTRAP_KEY: ADMIN });
  const as = { authorization: `Bearer ${ADMIN}` };
  const make = async (body) => (await server.call("POST", "/v1/api_keys", body, as)).body;
  return { server, as, make };
}

async function signIn(page, key) {
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}

test("a key that is revoked ends what is open, and whoever comes next signs in without loading anew", async ({ page, own }) => {
  const { server, as, make } = await keyed(own);
  const { key, key_id } = await make({ name: "page", scopes: ["admin"] });
  await page.goto(server.url);
  await signIn(page, key);
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  await expect(badge(page)).toHaveText("live");
  await page.evaluate(() => (window.isTheSamePage = true));
  // Nothing is asked on this page but over the connection.
  expect((await server.call("DELETE", `/v1/api_keys/${key_id}`, undefined, as)).status).toBe(204);
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await expect(page.getByText("cannot be reached")).toHaveCount(0);
  await signIn(page, ADMIN);
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  await expect(badge(page)).toHaveText("live");
  expect(await page.evaluate(() => window.isTheSamePage)).toBe(true);
});

test("a session that is over is noticed by what is clicked on a job's page and in the playground", async ({ page, context, own }) => {
  const { server, as } = await keyed(own);
  const { body } = await server.call("POST", "/v1/jobs", { kind: "echo", input: 1 }, as);
  for (const [path, button] of [[`/ui/jobs/${body.job_id}`, "Retry"], ["/ui/playground", "Send"]]) {
    await page.goto(server.url + path);
    await signIn(page, ADMIN);
    await expect(badge(page)).toHaveText("live");
    await expect(page.getByRole("button", { name: "Copy as curl" }).first()).toBeVisible();
    await expect(page.getByRole("button", { name: button })).toBeEnabled();
    await context.clearCookies();
    await page.getByRole("button", { name: button }).click();
    await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  }
});

test("a session that is over asks for a key, and so does whoever signs out", async ({ page, context, own }) => {
  const { server } = await keyed(own);
  await page.goto(`${server.url}/ui/jobs`);
  await signIn(page, ADMIN);
  await expect(page.getByRole("heading", { name: "Jobs" })).toBeVisible();
  await context.clearCookies();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await signIn(page, ADMIN);
  await expect(page.getByRole("heading", { name: "Jobs" })).toBeVisible();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  expect(await context.cookies()).toEqual([]);
  await page.reload();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
});

test("a key of another tenant lands on its jobs, is offered what it may see, and stays connected", async ({ page, own }) => {
  const { server, make } = await keyed(own);
  const { key } = await make({ name: "theirs", tenant: "acme", scopes: ["jobs:read", "jobs:write", "llm"] });
  const tries = [];
  page.on("websocket", (socket) => tries.push(socket));
  await page.goto(server.url);
  await signIn(page, key);
  await expect(page.getByRole("heading", { name: "Jobs" })).toBeVisible();
  await expect(page).toHaveURL(/\/ui\/jobs$/);
  const names = await page.getByRole("navigation").getByRole("link").allTextContents();
  expect(names).toEqual(["Jobs", "Workers", "Documents", "Playground"]);
  await expect(badge(page)).toHaveText("live");
  const { body } = await server.call("POST", "/v1/jobs", { kind: "echo", input: 1 }, { authorization: `Bearer ${key}` });
  await page.goto(`${server.url}/ui/jobs/${body.job_id}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded");
  await expect(badge(page)).toHaveText("live");
});

test("a key that may only read is offered nothing that the server refuses", async ({ page, own }) => {
  const { server, as, make } = await keyed(own);
  const { key } = await make({ name: "reader", scopes: ["jobs:read"] });
  const { body } = await server.call("POST", "/v1/jobs", { kind: "echo", input: 1 }, as);
  await page.goto(server.url);
  await signIn(page, key);
  const alerts = page.getByRole("region", { name: "Alerts" });
  await expect(alerts).toContainText("P95 of calls");
  const leads = await alerts.getByRole("link").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  expect(leads).toEqual(["/ui/jobs?status=failed", "/ui/queues"]);
  await page.goto(`${server.url}/ui/queues`);
  await expect(page.getByRole("row", { name: /^default/ })).toBeVisible();
  await expect(page.getByRole("button", { name: /^Pause/ })).toHaveCount(0);
  await page.goto(`${server.url}/ui/jobs/${body.job_id}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded");
  await expect(page.getByRole("button", { name: "Copy as curl" })).toBeVisible();
  for (const name of ["Retry", "Cancel"]) await expect(page.getByRole("button", { name })).toHaveCount(0);
});

test("progress is drawn as it is told, without asking for the job each time", async ({ page, server }) => {
  const held = await hold(server, "steady");
  let asked = 0;
  page.on("request", (request) => (asked += Number(new URL(request.url()).pathname === `/v1/jobs/${held.job_id}`)));
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("running");
  const PARTS = 600;
  for (let part = 1; part <= PARTS; part += 1) {
    await tell(server, held, "heartbeat", { progress: { fraction: part / PARTS, message: `part ${part}` } });
  }
  await expect(page.locator(".facts")).toContainText(`part ${PARTS}`);
  expect(asked).toBeLessThan(8);
  // So many events leave the first ones out, and where the job stands is told all the same.
  await expect(page.getByText("earlier events are not shown")).toBeVisible();
  await page.goto(`${server.url}/ui/playground`);
  await tell(server, held, "complete", { output: "done" });
});
