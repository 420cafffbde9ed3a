import { execFileSync } from "node:child_process";
import { breakable, expect, hold, tell, test } from "./server.js";

test("a job sent in the playground is watched to its end", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("echo");
  await form.getByLabel("Input").fill('{"hello": "night train"}');
  await form.getByRole("button", { name: "Send" }).click();
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent).toContainText("succeeded");
  await expect(sent.getByTestId("output")).toContainText("night train");
  await sent.getByRole("link", { name: "its whole life" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("echo");
  await expect(page.locator(".fall")).toContainText("attempt 1");
});

test("a streamed job shows its words as they come", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("llm.chat");
  await form.getByLabel("Input").fill(JSON.stringify({ model: "slowly", stream: true, messages: [{ role: "user", content: "night trains" }] }));
  await form.getByRole("button", { name: "Send" }).click();
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent.locator(".stream")).toContainText("simulated");
  // Its words are there before it has ended.
  await expect(sent).toContainText("running");
  await expect(sent).toContainText("succeeded");
});

test("input that is no JSON is named before anything is sent", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Input").fill("{");
  await form.getByRole("button", { name: "Send" }).click();
  await expect(form.getByRole("alert")).toContainText("no JSON");
});

test("what the server refuses is told field by field", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("analysis");
  await form.getByLabel("Input").fill('{"txt": "a spelling mistake"}');
  await form.getByRole("button", { name: "Send" }).click();
  await expect(form.getByRole("alert")).toContainText("txt");
});

test("a model is asked, and the answer tells how it came about", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A chat" });
  await form.getByLabel("Model").selectOption("slowly");
  await form.getByRole("button", { name: "Ask" }).click();
  await expect(form.getByTestId("answer")).toContainText("simulated");
  await expect(form.getByLabel("How it came about")).toContainText("first words after");
});

test("a job copied as curl is a command that submits it again", async ({ page, server }) => {
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: { it: "isn't lost" }, metadata: { team: "search" }, max_attempts: 2, deadline_s: 600 });
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded");
  await page.getByRole("button", { name: "Copy as curl" }).click();
  await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  const receipt = JSON.parse(execFileSync("sh", ["-c", command], { encoding: "utf8" }));
  const again = await server.get(`/v1/jobs/${receipt.job_id}?wait=30`);
  expect([again.output, again.metadata, again.max_attempts]).toEqual([{ it: "isn't lost" }, { team: "search" }, 2]);
  // The two are taken a moment apart.
  expect(Math.abs(Date.parse(again.deadline_at) - Date.parse(again.created_at) - 600_000)).toBeLessThan(1_000);
});

// Digits that a number of JavaScript has no room for, and a point that it does not keep.
const EXACT = '{"user_id": 1234567890123456789, "price": 1.0}';

test("numbers are sent, shown and copied as they were typed", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A job" });
  await form.getByLabel("Kind").selectOption("echo");
  await form.getByLabel("Input").fill(EXACT);
  const sending = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/v1/jobs"));
  await form.getByRole("button", { name: "Send" }).click();
  expect((await sending).postData()).toContain(EXACT);
  const sent = page.getByRole("region", { name: "The job that was sent" });
  await expect(sent.getByTestId("output")).toContainText("1234567890123456789");
  await expect(sent.getByTestId("output")).toContainText("1.0");
  const copied = async (from) => {
    await from.getByRole("button", { name: "Copy as curl" }).click();
    await expect(from.getByRole("button", { name: "Copied" })).toBeVisible();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  expect(await copied(form)).toContain(EXACT);
  await sent.getByRole("link", { name: "its whole life" }).click();
  for (const shown of [page.getByLabel("Result"), page.locator(".card", { has: page.getByRole("heading", { name: "Input" }) })]) {
    await expect(shown).toContainText("1234567890123456789");
    await expect(shown).toContainText("1.0");
  }
  expect(await copied(page.locator(".head"))).toContain(EXACT.replaceAll(" ", ""));
});

test("streamed items are shown as they were written", async ({ page, server }) => {
  const held = await hold(server, "exact-items");
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  await fetch(`${server.url}/v1/worker/jobs/${held.job_id}/output`, {
    method: "POST",
    headers: { "content-type": "application/json", ...held.lease },
    body: '{"chunk_seq": 1, "data": {"user_id": 1234567890123456789}}',
  });
  await expect(page.getByLabel("Output")).toContainText("1234567890123456789");
  await tell(server, held, "complete", { output: 1 });
});

test("what a model says when it fails is told, at once and in mid-stream", async ({ page, own }) => {
  const provider = await breakable();
  const server = await own(provider.configuration);
  await page.goto(`${server.url}/ui/playground`);
  const form = page.getByRole("form", { name: "A chat" });
  await form.getByLabel("Model").selectOption("breakable");
  for (const words of ["refuse", "break"]) {
    await form.getByLabel("You").fill(words);
    await form.getByRole("button", { name: "Ask" }).click();
    await expect(form.getByRole("alert")).toContainText("Provider server error: the model caught fire");
    await expect(form.getByTestId("answer")).toHaveText(words === "break" ? "It is" : "");
    await form.getByLabel("You").fill("well");
    await form.getByRole("button", { name: "Ask" }).click();
    await expect(form.getByRole("alert")).toHaveCount(0);
    await expect(form.getByLabel("How it came about")).toBeVisible();
  }
  await server.kill();
  await form.getByRole("button", { name: "Ask" }).click();
  await expect(form.getByRole("alert")).toContainText("cannot be reached");
  provider.close();
});
