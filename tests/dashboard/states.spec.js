import { chat, configuration, expect, hold, tell, test } from "./server.js";

test("the page tells that the server is gone, comes back with it, and has lost nothing", async ({ page, own }) => {
  const server = await own(configuration());
  const before = [];
  for (let index = 0; index < 20; index += 1) before.push((await server.post("/v1/jobs", { kind: "echo", input: index })).job_id);
  const slow = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("slowest") });
  // What comes over the wire, whichever connection carries it.
  const told = [];
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      const message = JSON.parse(String(payload));
      if (message.job_id === slow.job_id && typeof message.seq === "number") told.push(message.seq);
    }),
  );
  await page.goto(`${server.url}/ui/jobs/${slow.job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");

  await server.kill();
  await expect(page.getByRole("alert")).toContainText("cannot be reached");
  // What was there stays there to be read, and other pages still open.
  await expect(page.locator(".stream")).toContainText("simulated");
  await server.begin();
  await expect(page.getByRole("status").filter({ hasText: /^live$/ })).toBeVisible();
  await expect(page.getByRole("alert")).toHaveCount(0);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded", { timeout: 60_000 });

  // What the page shows is what the server stored: every event once, the text of the last attempt alone.
  const { data } = await server.get(`/v1/jobs/${slow.job_id}/events?limit=1000`);
  expect(told).toEqual(data.map((event) => event.seq));
  const stored = data.filter((event) => event.type !== "job.output.delta").map((event) => event.seq);
  await expect.poll(async () => (await page.locator(".events .one > :first-child").allTextContents()).map(Number)).toEqual(stored);
  const { output } = await server.get(`/v1/jobs/${slow.job_id}`);
  await expect(page.locator(".stream")).toHaveText(output.choices[0].message.content);
  for (const id of before) expect((await server.get(`/v1/jobs/${id}?wait=30`)).status).toBe("succeeded");
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await expect(page.getByText("21 loaded")).toBeVisible();
});

test("while the server is away a page that was not open yet still opens, and fills when it is back", async ({ page, own }) => {
  const server = await own(configuration());
  await page.goto(server.url);
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  // The other pages are fetched when there is nothing else to do.
  await page.waitForFunction(() => performance.getEntriesByType("resource").some((entry) => /\/assets\/Playground/.test(entry.name)));
  await server.kill();
  await expect(page.getByRole("alert").first()).toContainText("cannot be reached");
  await page.getByRole("link", { name: "Queues", exact: true }).first().click();
  await server.begin();
  await expect(page.getByRole("heading", { name: "Queues" })).toBeVisible();
  await expect(page.getByRole("row", { name: /^default/ })).toBeVisible();
});

test("a server on which nothing has happened says how to begin", async ({ page, own }) => {
  const server = await own("");
  await page.goto(server.url);
  await expect(page.getByRole("region", { name: "How to begin" })).toBeVisible();
  await expect(page.getByRole("region", { name: "Alerts" })).toContainText("Nothing needs attention");
  for (const [name, words] of [["Jobs", "No job has come yet"], ["Workers", "Nothing runs"], ["Documents", "What you upload appears here"]]) {
    await page.getByRole("navigation").getByRole("link", { name }).click();
    await expect(page.getByText(words)).toBeVisible();
  }
});

test("a job that is not there is told as such, and a path that is none too", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/jobs/job_00000000000070008000000000000000`);
  await expect(page.getByRole("alert")).toContainText("request");
  await page.goto(`${server.url}/ui/nothing`);
  await expect(page.getByRole("heading", { name: "No such page" })).toBeVisible();
});

test("where there are keys the page asks for one and keeps none of it", async ({ page, own }) => {
  const key = `lh_first_${"k".repeat(32)}`;
  const server = await own("", { LONGHAUL_BOOTSTRAP_KEY: key });
  await page.goto(server.url);
  await page.getByLabel("API key").fill("lh_wrong_key");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert").filter({ hasText: /key/i })).toBeVisible();
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  await expect(page.getByRole("status").filter({ hasText: /^live$/ })).toBeVisible();
  const kept = await page.evaluate(() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie);
  expect(kept).not.toContain("lh_");
});

test("what is clicked while the browser thinks that it is offline is tried at once, and never later", async ({ page, server }) => {
  const held = await hold(server, "far-away");
  const tries = [];
  await page.route("**/cancel", (route) => (tries.push(route.request().url()), route.abort("internetdisconnected")));
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  const cancel = page.getByRole("button", { name: "Cancel" });
  await expect(cancel).toBeEnabled();
  await page.evaluate(() => window.dispatchEvent(new Event("offline")));
  await cancel.click();
  await expect(page.getByRole("alert")).toContainText("cannot be reached");
  // A page that was not open yet asks the server, too.
  await page.getByRole("navigation").getByRole("link", { name: "Queues" }).click();
  await expect(page.getByRole("row", { name: /^default/ })).toBeVisible();
  await page.evaluate(() => window.dispatchEvent(new Event("online")));
  expect(tries).toHaveLength(1);
  expect((await server.get(`/v1/jobs/${held.job_id}`)).status).toBe("running");
  await tell(server, held, "complete", { output: 1 });
});
