/** A job that asks a person: what is answered is what was read. */
import { claim, expect, hold, tell, test } from "./server.js";

const asks = (server, held, step, prompt) => tell(server, held, "wait", { for: "input", step, prompt });

const form = (page) => page.getByRole("form", { name: "It waits for you" });

test("Enter in the comment answers nothing, and one answer is for one question", async ({ page, server }) => {
  await page.clock.install();
  const answers = [];
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.pathname.endsWith("/input")) answers.push([url.searchParams.get("step"), request.postDataJSON()]);
  });
  const held = await hold(server, "asks-twice");
  await asks(server, held, "first", "Refund 10 EUR?");
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  const approve = form(page).getByRole("button", { name: "Approve" });
  await expect(form(page)).toContainText("Refund 10 EUR?");
  // A click that comes with the question was not meant for it.
  await expect(approve).toBeDisabled();
  await page.clock.runFor(1_000);
  await form(page).getByLabel("Comment").fill("fine with me");
  await form(page).getByLabel("Comment").press("Enter");
  await approve.click();
  await expect(form(page)).toBeHidden();
  const again = await claim(server, "asks-twice", "w1");
  await asks(server, again, "second", "Refund 1,000,000 EUR?");
  // What asks for the job again does so after a pause.
  await expect.poll(async () => (await page.clock.runFor(300), form(page).isVisible())).toBe(true);
  await expect(form(page)).toContainText("Refund 1,000,000 EUR?");
  await expect(form(page).getByLabel("Comment")).toHaveValue("");
  await page.clock.runFor(1_000);
  await form(page).getByRole("button", { name: "Refuse" }).click();
  await expect(form(page)).toBeHidden();
  expect(answers).toEqual([["first", { approve: true, comment: "fine with me" }], ["second", { approve: false }]]);
  await server.post(`/v1/jobs/${held.job_id}/cancel`, {});
});

test("a question that took another's place cannot be answered before it can be read", async ({ page, server }) => {
  await page.clock.install();
  const held = await hold(server, "asks-anew");
  await asks(server, held, "first", "Refund 10 EUR?");
  // The page sees the second question right in the place of the first.
  let isSecond = false;
  await page.route(`**/v1/jobs/${held.job_id}`, async (route) => {
    const answer = await route.fetch();
    const job = await answer.json();
    if (isSecond) job.waiting_for = { ...job.waiting_for, step: "second", prompt: "Refund 1,000,000 EUR?" };
    return route.fulfill({ response: answer, json: job });
  });
  const answers = [];
  await page.route("**/input*", (route) => {
    answers.push(new URL(route.request().url()).searchParams.get("step"));
    isSecond = true;
    return route.fulfill({ status: 202, json: {} });
  });
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  await expect(form(page)).toContainText("Refund 10 EUR?");
  await page.clock.runFor(1_000);
  await form(page).getByLabel("Comment").fill("fine with me");
  const approve = form(page).getByRole("button", { name: "Approve" });
  await approve.click();
  await expect(form(page)).toContainText("Refund 1,000,000 EUR?");
  await expect(approve).toBeDisabled();
  await expect(form(page).getByLabel("Comment")).toHaveValue("");
  await page.clock.runFor(1_000);
  await approve.click();
  await expect.poll(() => answers).toEqual(["first", "second"]);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await server.post(`/v1/jobs/${held.job_id}/cancel`, {});
});

test("an answer that comes after another's is told not to have been taken", async ({ page, server }) => {
  const held = await hold(server, "asks-two");
  await asks(server, held, "first", "Refund 10 EUR?");
  const steps = [];
  await page.route("**/input*", async (route) => {
    steps.push(new URL(route.request().url()).searchParams.get("step"));
    // A colleague was first.
    await server.post(`/v1/jobs/${held.job_id}/input`, { approve: false });
    return route.continue();
  });
  await page.goto(`${server.url}/ui/jobs/${held.job_id}`);
  await form(page).getByRole("button", { name: "Approve" }).click();
  await expect(page.getByRole("alert")).toContainText("Your answer was not taken");
  await expect(form(page)).toBeHidden();
  expect(steps).toEqual(["first"]);
  const again = await server.call("POST", "/v1/worker/claims", { worker_id: "w1", kinds: ["asks-two"], max: 1, wait_s: 10, lease_s: 60 });
  expect(again.body.jobs[0].steps).toEqual([expect.objectContaining({ step: "first", output: { approve: false } })]);
  await server.post(`/v1/jobs/${held.job_id}/cancel`, {});
});
