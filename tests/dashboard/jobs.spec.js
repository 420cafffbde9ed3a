import { chat, claim, expect, hold, tell, test } from "./server.js";

test("a running job is cancelled and retried", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("endless") });
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("cancelled");
  await page.getByRole("button", { name: "Retry" }).click();
  await expect(page.getByText("retry of")).toBeVisible();
  await expect(page).not.toHaveURL(new RegExp(job_id));
  await expect(page.getByRole("heading", { level: 1 })).toContainText("running");
  await expect(page.locator(".stream")).toContainText("simulated");
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("cancelled");
});

test("a job's life is drawn with its attempts and what the layers decided", async ({ page, server, upstream }) => {
  await upstream.kill();
  const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("smart", "what a layer does") });
  await server.get(`/v1/jobs/${job_id}?wait=30`);
  await upstream.begin();
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  const life = page.locator(".fall");
  for (const part of ["attempt 1", "the provider failed", "the first target failed", "another target answered"]) await expect(life).toContainText(part);
  await expect(page.getByText("not by the first target").first()).toBeVisible();
});

test("a queue is paused and resumed, and what waits in it has an age", async ({ page, server }) => {
  await server.post("/v1/jobs", { kind: "echo", input: 1, queue: "held" });
  await page.goto(`${server.url}/ui/queues`);
  await page.getByRole("button", { name: "Pause held" }).click();
  await expect(page.getByRole("button", { name: "Resume held" })).toBeVisible();
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 2, queue: "held" });
  expect((await server.get(`/v1/jobs/${job_id}`)).status).toBe("queued");
  const row = page.getByRole("row", { name: /^held/ });
  await expect(row.getByRole("cell").nth(2)).toContainText(/\d (ms|s)/);
  await page.getByRole("button", { name: "Resume held" }).click();
  expect((await server.get(`/v1/jobs/${job_id}?wait=30`)).status).toBe("succeeded");
  await expect(row.getByRole("cell").nth(2)).toContainText("–");
});

test("jobs are found by metadata, state and time, and the address tells the filter", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 1, metadata: { team: "search", tier: "gold" } });
  await server.post("/v1/jobs", { kind: "echo", input: 2, metadata: { team: "search" } });
  await server.get(`/v1/jobs/${job_id}?wait=30`);
  await page.goto(`${server.url}/ui/jobs`);
  const rows = page.getByRole("list", { name: "Jobs, newest first" }).getByRole("listitem");
  await page.getByLabel("Metadata").fill("team=search, tier=gold");
  await page.getByLabel("Metadata").press("Enter");
  await expect(rows).toHaveCount(1);
  await expect(page).toHaveURL(/metadata\.team=search&metadata\.tier=gold/);
  await page.getByLabel("State").selectOption("failed");
  await expect(page.getByText("No job is like that")).toBeVisible();
  await page.getByLabel("State").selectOption("succeeded");
  await page.getByLabel("Submitted").selectOption({ label: "in the last hour" });
  await expect(rows).toHaveCount(1);
  await page.getByLabel("Until").fill("2020-01-01T00:00");
  await expect(page.getByText("No job is like that")).toBeVisible();
  // The address alone makes the same page.
  await page.reload();
  await expect(page.getByText("No job is like that")).toBeVisible();
  await expect(page.getByLabel("Metadata")).toHaveValue("team=search, tier=gold");
  await page.getByRole("button", { name: "Show all" }).click();
  await expect(rows.nth(1)).toBeVisible();
  await page.getByLabel("Metadata").fill("no pair");
  await page.getByLabel("Metadata").press("Enter");
  await expect(page.getByRole("alert")).toContainText("no pair");
});

test("a job that waits for a person shows its question, and the answer reaches it", async ({ page, server }) => {
  await server.call("PUT", "/v1/kinds/ask-somebody", { description: "asks" });
  const { job_id } = await server.post("/v1/jobs", { kind: "ask-somebody", input: {}, queue: "people" });
  const claim = { worker_id: "w1", kinds: ["ask-somebody"], max: 1, wait_s: 10, lease_s: 30 };
  const [held] = (await server.call("POST", "/v1/worker/claims", claim)).body.jobs;
  const lease = { "longhaul-lease": held.lease_token };
  const waits = await server.call("POST", `/v1/worker/jobs/${job_id}/wait`, { for: "input", step: "refund", prompt: "Refund 40 EUR?" }, lease);
  expect(waits.status).toBe(200);
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  const form = page.getByRole("form", { name: "It waits for you" });
  await expect(form).toContainText("Refund 40 EUR?");
  await form.getByLabel("Comment").fill("fine with me");
  await form.getByRole("button", { name: "Approve" }).click();
  await expect(form).toBeHidden();
  const [again] = (await server.call("POST", "/v1/worker/claims", claim)).body.jobs;
  expect(again.steps).toEqual([expect.objectContaining({ output: { approve: true, comment: "fine with me" } })]);
  // Who holds it is told while it runs.
  await page.getByRole("navigation").getByRole("link", { name: "Workers" }).click();
  await expect(page.getByRole("region", { name: "w1" })).toContainText(job_id);
  const done = await server.call("POST", `/v1/worker/jobs/${job_id}/complete`, { output: "refunded" }, { "longhaul-lease": again.lease_token });
  expect(done.status).toBe(200);
  await expect(page.getByRole("region", { name: "w1" })).toHaveCount(0);
});

test("the main actions are reached and done with the keyboard alone", async ({ page, server }) => {
  const reach = async (locator) => {
    for (let presses = 0; presses < 60; presses += 1) {
      if (await locator.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`not reached with Tab: ${locator}`);
  };
  await page.goto(server.url);
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await reach(page.getByRole("link", { name: "Playground" }));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Playground" })).toBeVisible();
  await reach(page.getByRole("button", { name: "Send" }));
  await page.keyboard.press("Enter");
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent).toContainText("succeeded");
  await reach(sent.getByRole("link").first());
  await page.keyboard.press("Enter");
  await reach(page.getByRole("button", { name: "Retry" }));
  await page.keyboard.press("Enter");
  await expect(page.getByText("retry of")).toBeVisible();

  // Through the list with the arrows.
  await page.goto(`${server.url}/ui/jobs`);
  const list = page.getByRole("list", { name: "Jobs, newest first" });
  await reach(list);
  await page.keyboard.press("ArrowDown");
  await expect(list.getByRole("link").first()).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(list.getByRole("link").nth(1)).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/ui\/jobs\/job_/);
});

test("a job that streamed shows its result besides", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("slowly") });
  await server.get(`/v1/jobs/${job_id}?wait=30`);
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");
  await expect(page.getByLabel("Result")).toContainText("chat.completion");
});

test("a job that is given back is shown with whoever holds it now, and one that waits with nobody", async ({ page, server }) => {
  const held = await hold(server, "handed-on", "first-hand");
  const waits = await hold(server, "waits", "waiter");
  await page.goto(`${server.url}/ui/workers`);
  await expect(page.getByRole("region", { name: "first-hand" })).toContainText(held.job_id);
  await expect(page.getByRole("region", { name: "waiter" })).toContainText(waits.job_id);
  await tell(server, waits, "wait", { for: "input", step: "ask", prompt: "Shall it?" });
  await expect(page.getByRole("region", { name: "waiter" })).toHaveCount(0);
  await expect(page.getByText("1 wait for others")).toBeVisible();
  await tell(server, held, "release");
  const again = await claim(server, "handed-on", "second-hand");
  expect(again.job_id).toBe(held.job_id);
  await expect(page.getByRole("region", { name: "second-hand" })).toContainText(held.job_id);
  await expect(page.getByRole("region", { name: "first-hand" })).toHaveCount(0);
  await tell(server, again, "complete", { output: 1 });
  await server.post(`/v1/jobs/${waits.job_id}/cancel`, {});
});

test("a job of very many events is told to run while it does", async ({ page, server }) => {
  await server.call("PUT", "/v1/kinds/verbose", { description: "tells much" });
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("verbose");
  await form.getByRole("button", { name: "Send" }).click();
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent).toContainText("queued");
  const held = await claim(server, "verbose", "w1");
  for (let part = 1; part <= 520; part += 1) await tell(server, held, "heartbeat", { progress: { fraction: part / 520, message: `part ${part}` } });
  await expect(sent).toContainText("522 events");
  await expect(sent).toContainText("running");
  await tell(server, held, "complete", { output: 1 });
  await expect(sent).toContainText("succeeded");
});

test("why a job waits is told as it changes, without an event of the job's own", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 1, delay_s: 3_600 });
  let answers = 0;
  // The server's answer may be one from the browser's cache: here each one is of now.
  await page.route(`**/v1/jobs/${job_id}`, async (route) => {
    const answer = await route.fetch();
    const job = await answer.json();
    answers += 1;
    job.waiting_for = { what: "turn", message: `${10 - answers} stand before it` };
    return route.fulfill({ status: 200, json: job });
  });
  await page.clock.install();
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.locator(".banner")).toContainText("stand before it");
  const before = answers;
  await expect.poll(async () => (await page.clock.runFor(2_500), answers)).toBeGreaterThan(before + 1);
  await expect(page.locator(".banner")).not.toContainText(`${10 - before} stand`);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await server.post(`/v1/jobs/${job_id}/cancel`, {});
});

test("of many parts the one that failed is found, with why it did", async ({ page, server }) => {
  await server.call("PUT", "/v1/kinds/part", { description: "a part that fails" });
  const children = Array.from({ length: 301 }, (_, index) => (index === 250 ? { kind: "part", input: {}, max_attempts: 1 } : { kind: "echo", input: index }));
  const { job_id } = await server.post("/v1/jobs", { kind: "flow", input: {}, on_child_failure: "partial", children });
  const held = await claim(server, "part", "w1");
  await tell(server, held, "fail", { error: { code: "no_such_harbour", message: "the harbour is not there" }, retryable: false });
  expect((await server.get(`/v1/jobs/${job_id}?wait=60`)).status).toBe("succeeded");
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  const parts = page.getByRole("region", { name: "Its parts" });
  await expect(parts).toContainText("300 succeeded, 1 failed");
  await expect(parts.getByRole("row")).toHaveCount(200);
  await parts.getByRole("button", { name: "Only those that failed" }).click();
  await expect(parts.getByRole("row")).toHaveCount(1);
  await expect(parts.getByRole("row")).toContainText("250");
  await expect(parts.getByRole("row")).toContainText("no_such_harbour the harbour is not there");
  await parts.getByRole("button", { name: "Only those that failed" }).click();
  await expect(parts.getByRole("row")).toHaveCount(301);
  // The command would make a flow of no parts.
  await expect(page.getByRole("button", { name: "Copy as curl" })).toHaveCount(0);
});

test("more parts come at a click", async ({ page, server }) => {
  const children = Array.from({ length: 201 }, (_, index) => ({ kind: "echo", input: index }));
  const { job_id } = await server.post("/v1/jobs", { kind: "flow", input: {}, children });
  expect((await server.get(`/v1/jobs/${job_id}?wait=60`)).status).toBe("succeeded");
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  const parts = page.getByRole("region", { name: "Its parts" });
  await parts.getByRole("button", { name: /^More: 200 of 201/ }).click();
  await expect(parts.getByRole("row")).toHaveCount(201);
  await expect(parts.getByRole("button")).toHaveCount(0);
});

test.describe("far from Greenwich", () => {
  test.use({ timezoneId: "America/Los_Angeles" });

  test("times are local and say so, with UTC behind them, and an address means the same everywhere", async ({ page, server }) => {
    const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 1, metadata: { where: "far" } });
    const { created_at } = await server.get(`/v1/jobs/${job_id}?wait=30`);
    await page.goto(`${server.url}/ui/jobs/${job_id}`);
    const local = new Intl.DateTimeFormat("en-GB", { timeZone: "America/Los_Angeles", timeStyle: "medium" }).format(new Date(created_at));
    const submitted = page.locator(".facts time").first();
    await expect(submitted).toHaveText(new RegExp(`${local} (GMT|UTC)-[78]`));
    await expect(submitted).toHaveAttribute("title", created_at);
    await expect(page.locator(".facts")).toContainText("ended");
    await expect(page.locator(".events time").first()).toContainText(local);
    await page.goto(`${server.url}/ui/jobs?created_after=2026-01-01T12:00:00.000Z`);
    await expect(page.getByLabel(/^From \((GMT|UTC)-[78]\)/)).toHaveValue("2026-01-01T04:00");
    await page.getByLabel("Until").fill("2026-01-02T04:00");
    await expect(page).toHaveURL(/created_before=2026-01-02T12%3A00%3A00/);
  });
});
