import { expect, test } from "./server.js";

const live = (page) => expect(page.getByRole("status").filter({ hasText: /^live$/ })).toBeVisible();

test("a job sent in the playground is watched to its end", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  await page.getByLabel("Kind").selectOption("echo");
  await page.getByLabel("Input").fill('{"hello": "night train"}');
  await page.getByRole("button", { name: "Send" }).click();
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent).toContainText("succeeded");
  await expect(sent.getByTestId("output")).toContainText("night train");
  await sent.getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("echo");
  await expect(page.getByText("attempt 1", { exact: false }).first()).toBeVisible();
});

test("input that is no JSON is named before anything is sent", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  await page.getByLabel("Input").fill("{");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByRole("alert")).toContainText("no JSON");
});

test("a document is read and searched", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/documents`);
  const text = "# Timetable\n\nThe night train to the harbour leaves at ten.\n\n# Dogs\n\nDogs travel free of charge.\n";
  await page.getByLabel("Files").setInputFiles({ name: "timetable.md", mimeType: "text/markdown", buffer: Buffer.from(text) });
  const document = page.getByRole("region", { name: "timetable.md" });
  await expect(document).toContainText("succeeded");
  await document.getByLabel("Search in it").fill("dogs");
  await document.getByRole("button", { name: "Search" }).click();
  await expect(document.locator("blockquote").first()).toContainText("free of charge");
});

test("a provider that breaks opens its breaker, and a reset lets it answer again", async ({ page, server, upstream }) => {
  const ask = () => server.post("/v1/chat/completions", { model: "smart", messages: [{ role: "user", content: "night trains" }] });
  expect((await ask()).choices[0].message.content).toContain("simulated");
  await page.goto(`${server.url}/ui/models`);
  const model = page.getByRole("region", { name: "smart" });
  await expect(model).toContainText("closed");

  await upstream.kill();
  for (let call = 0; call < 4; call += 1) expect((await ask()).choices[0].message.content).toContain("away for a moment");
  await expect(model.locator(".badge.bad")).toContainText("open");
  await page.getByRole("link", { name: "Overview" }).click();
  await expect(page.getByRole("region", { name: "Alerts" })).toContainText("1 open");

  await upstream.begin();
  await page.getByRole("link", { name: "Models", exact: true }).click();
  await model.getByRole("button", { name: "Reset breaker of first" }).click();
  await expect(model.locator(".badge.warn")).toContainText("half_open");
  for (let probe = 0; probe < 2; probe += 1) expect((await ask()).choices[0].message.content).toContain("simulated");
  await expect(model.locator(".badge.good")).toContainText("closed");
});

test("a breaker is opened and closed by hand", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/models`);
  const model = page.getByRole("region", { name: "smart" });
  await model.getByRole("button", { name: "Open breaker of first" }).click();
  await expect(model.locator(".badge.bad")).toContainText("open · by hand");
  await model.getByRole("button", { name: "Close breaker of first" }).click();
  await expect(model.locator(".badge.good")).toContainText("closed · by hand");
  await model.getByRole("button", { name: "Reset breaker of first" }).click();
  await expect(model.locator(".badge.good")).not.toContainText("by hand");
});

test("the page tells that the server is gone, comes back with it, and has lost nothing", async ({ page, server }) => {
  const before = [];
  for (let index = 0; index < 20; index += 1) before.push((await server.post("/v1/jobs", { kind: "echo", input: index })).job_id);
  const slow = await server.post("/v1/jobs", { kind: "llm.chat", input: { model: "slowly", stream: true, messages: [{ role: "user", content: "night trains" }] } });
  await page.goto(`${server.url}/ui/jobs/${slow.job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");

  await server.kill();
  await expect(page.getByRole("alert")).toContainText("cannot be reached");
  // What was there stays there to be read.
  await expect(page.locator(".stream")).toContainText("simulated");
  await server.begin();
  await live(page);
  await expect(page.getByRole("alert")).toHaveCount(0);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded", { timeout: 60_000 });

  // What the page shows is what the server stored: every event once, the text of the last attempt alone.
  const { data } = await server.get(`/v1/jobs/${slow.job_id}/events?limit=1000`);
  const shown = await page.locator(".events .one > :first-child").allTextContents();
  expect(shown.map(Number)).toEqual(data.filter((event) => event.type !== "job.output.delta").map((event) => event.seq));
  const { output } = await server.get(`/v1/jobs/${slow.job_id}`);
  await expect(page.locator(".stream")).toHaveText(output.choices[0].message.content);
  for (const id of before) expect((await server.get(`/v1/jobs/${id}?wait=30`)).status).toBe("succeeded");
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await expect(page.getByText("21 loaded")).toBeVisible();
});

test("a running job is cancelled and retried", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: { model: "slowly", stream: true, messages: [{ role: "user", content: "night trains" }] } });
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.locator(".stream")).toContainText("simulated");
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("cancelled");
  await page.getByRole("button", { name: "Retry" }).click();
  await expect(page.getByText("retry of")).toBeVisible();
  await expect(page).not.toHaveURL(new RegExp(job_id));
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded", { timeout: 60_000 });
});

test("a queue is paused and resumed", async ({ page, server }) => {
  await server.post("/v1/jobs", { kind: "echo", input: 1 });
  await page.goto(`${server.url}/ui/queues`);
  await page.getByRole("button", { name: "Pause default" }).click();
  await expect(page.getByRole("button", { name: "Resume default" })).toBeVisible();
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 2 });
  expect((await server.get(`/v1/jobs/${job_id}`)).status).toBe("queued");
  await page.getByRole("button", { name: "Resume default" }).click();
  expect((await server.get(`/v1/jobs/${job_id}?wait=30`)).status).toBe("succeeded");
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
  await reach(sent.getByRole("link"));
  await page.keyboard.press("Enter");
  await reach(page.getByRole("button", { name: "Retry" }));
  await page.keyboard.press("Enter");
  await expect(page.getByText("retry of")).toBeVisible();

  await page.goto(`${server.url}/ui/models`);
  await reach(page.getByRole("button", { name: "Open breaker of first" }));
  await page.keyboard.press("Enter");
  await expect(page.getByRole("region", { name: "smart" }).locator(".badge.bad")).toContainText("open");
});
