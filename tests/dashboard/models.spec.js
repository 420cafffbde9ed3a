import { breakable, chat, expect, test } from "./server.js";

const ask = (server) => server.post("/v1/chat/completions", { model: "smart", messages: [{ role: "user", content: "night trains" }] });
const said = (answer) => answer.choices[0].message.content;

test("a provider that breaks opens its breaker, and a reset lets it answer again", async ({ page, server, upstream }) => {
  expect(said(await ask(server))).toContain("simulated");
  await page.goto(`${server.url}/ui/models`);
  const model = page.getByRole("region", { name: "smart" });
  await expect(model.locator(".target .badge")).toContainText("closed");

  await upstream.kill();
  for (let call = 0; call < 4; call += 1) expect(said(await ask(server))).toContain("away for a moment");
  await expect(model.locator(".target .badge.bad")).toContainText("open");
  // Which layer decided what is told with it.
  await expect(model.getByRole("list", { name: "What its layers decided" })).toContainText("breaker opened 1");
  await page.getByRole("link", { name: "Overview", exact: true }).click();
  const alerts = page.getByRole("region", { name: "Alerts" });
  await expect(alerts).toContainText("breaker open");
  await expect(alerts).toContainText("breaker smart/first");

  await upstream.begin();
  await page.getByRole("navigation").getByRole("link", { name: "Models" }).click();
  await model.getByRole("button", { name: "Reset breaker of first" }).click();
  await expect(model.locator(".target .badge.warn")).toContainText("half open");
  for (let probe = 0; probe < 2; probe += 1) expect(said(await ask(server))).toContain("simulated");
  await expect(model.locator(".target .badge.good")).toContainText("closed");
});

test("a breaker is opened and closed by hand", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/models`);
  const model = page.getByRole("region", { name: "smart" });
  await model.getByRole("button", { name: "Open breaker of first" }).click();
  await expect(model.locator(".target .badge.bad")).toContainText("open · by hand");
  await model.getByRole("button", { name: "Close breaker of first" }).click();
  await expect(model.locator(".target .badge.good")).toContainText("closed · by hand");
  await model.getByRole("button", { name: "Reset breaker of first" }).click();
  await expect(model.locator(".target .badge.good")).not.toContainText("by hand");
});

test("a rate that is beyond its bound is red, and says of which model", async ({ page, own }) => {
  const failing = `
[providers.nobody]
protocol = "openai"
flavor = "compatible"
base_url = "http://127.0.0.1:9/v1"
[models.broken]
[[models.broken.targets]]
provider = "nobody"
model = "any"
retry = { max_retries = 0 }
breaker = { failures = 1000 }
`;
  const server = await own(failing);
  const call = () => server.call("POST", "/v1/chat/completions", { model: "broken", messages: [{ role: "user", content: "hello" }] });
  await page.goto(server.url);
  const alerts = page.getByRole("region", { name: "Alerts" });
  for (let index = 0; index < 19; index += 1) await call();
  // A handful says nothing yet.
  await expect(alerts).toContainText("Nothing needs attention");
  for (let index = 0; index < 5; index += 1) expect((await call()).status).toBeGreaterThanOrEqual(500);
  await expect(alerts).toContainText("Needs attention: errors");
  await expect(alerts.getByRole("link", { name: /^Errors/ })).toContainText("100 %");
  await expect(alerts.getByRole("link", { name: /^Errors/ })).toContainText("model broken");
});

test("streams that break off count as failed, each once, and so do those that never opened", async ({ page, own }) => {
  const provider = await breakable();
  const server = await own(provider.configuration);
  const ask = async (words) => {
    const body = JSON.stringify(chat("breakable", words));
    const answer = await fetch(`${server.url}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
    await answer.text();
  };
  for (const words of ["break", "break", "refuse", "well"]) await ask(words);
  await page.goto(`${server.url}/ui/models`);
  const calls = page.getByRole("region", { name: "breakable" }).locator(".target .figure").filter({ hasText: "Calls" });
  await expect(calls.locator(".value")).toHaveText("4");
  await expect(calls.locator(".note")).toHaveText("75 % failed");
  provider.close();
});
