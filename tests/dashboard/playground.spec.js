import { execFileSync } from "node:child_process";
import { expect, test } from "./server.js";

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
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: { it: "isn't lost" }, metadata: { team: "search" } });
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("succeeded");
  await page.getByRole("button", { name: "Copy as curl" }).click();
  await expect(page.getByRole("button", { name: "Copied" })).toBeVisible();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  const receipt = JSON.parse(execFileSync("sh", ["-c", command], { encoding: "utf8" }));
  const again = await server.get(`/v1/jobs/${receipt.job_id}?wait=30`);
  expect([again.output, again.metadata]).toEqual([{ it: "isn't lost" }, { team: "search" }]);
});
