/** The list of jobs while it is read: nothing moves under the reader, and what is shown is of now. */
import { configuration, expect, hold, tell, test } from "./server.js";

const list = (page) => page.getByRole("list", { name: "Jobs, newest first" });
const top = (page) => list(page).evaluate((element) => element.scrollTop);
const scroll = (page, to) => list(page).evaluate((element, to) => (element.scrollTop = to), to);

const echoes = (server, count) =>
  server.post("/v1/jobs/bulk", { jobs: Array.from({ length: count }, (_, index) => ({ kind: "echo", input: index })) });

test("rows stand still for whoever has scrolled, tell how they stand, and are of now at the top again", async ({ page, own }) => {
  const server = await own(configuration());
  await echoes(server, 500);
  const { job_id, lease } = await hold(server, "slow-row");
  await echoes(server, 150);
  await page.goto(`${server.url}/ui/jobs`);
  await expect(list(page).getByRole("link").first()).toBeVisible();
  // Beyond the first page, then to a row of it.
  await scroll(page, 8_000);
  await expect(page.getByText(/^[4-7]\d\d loaded/)).toBeVisible();
  await scroll(page, 5_600);
  const row = list(page).locator(`[href$="${job_id}"]`);
  await expect(row).toContainText("running");
  const place = await row.getAttribute("data-row");
  const newer = await server.post("/v1/jobs", { kind: "echo", input: 1 });
  await tell(server, { job_id, lease }, "complete", { output: 1 });
  await expect(row).toContainText("succeeded");
  expect(await row.getAttribute("data-row")).toBe(place);
  await expect(page.getByRole("button", { name: /newer ones/ })).toBeVisible();
  await scroll(page, 0);
  await expect(list(page).getByRole("link").first()).toHaveAttribute("href", new RegExp(newer.job_id));
});

test("a row that has the focus keeps it while others come", async ({ page, own }) => {
  const server = await own(configuration());
  await echoes(server, 100);
  await page.goto(`${server.url}/ui/jobs`);
  await list(page).focus();
  await page.keyboard.press("ArrowDown");
  await expect(list(page).getByRole("link").first()).toBeFocused();
  await echoes(server, 200);
  await expect(page.getByRole("button", { name: /newer ones/ })).toBeVisible();
  await expect(list(page).getByRole("link").first()).toBeFocused();
});

test("back from a job the list is where it was", async ({ page, own }) => {
  const server = await own(configuration());
  await echoes(server, 500);
  await page.goto(`${server.url}/ui/jobs`);
  await expect(list(page).getByRole("link").first()).toBeVisible();
  await scroll(page, 8_000);
  await expect(page.getByText(/^[4-5]\d\d loaded/)).toBeVisible();
  await scroll(page, 7_200);
  const row = list(page).locator('[data-row="185"]');
  const before = await row.getAttribute("href");
  await row.click();
  await expect(page.getByRole("heading", { level: 1 })).toContainText("echo");
  await page.goBack();
  await expect.poll(() => top(page)).toBe(7_200);
  await expect(row).toHaveAttribute("href", before);
  // From there to what is new.
  const newer = await server.post("/v1/jobs", { kind: "echo", input: 1 });
  await page.getByRole("button", { name: /newer ones/ }).click();
  await expect(list(page).getByRole("link").first()).toHaveAttribute("href", new RegExp(newer.job_id));
  expect(await top(page)).toBe(0);
});

for (const left of [3, 0]) {
  test(`a list that was left far down and has but ${left} jobs is at its top, and of now`, async ({ page, own }) => {
    const server = await own(configuration());
    await server.call("PUT", "/v1/kinds/waits", { description: "nobody takes it" });
    const wait = async (count) => (await server.post("/v1/jobs/bulk", { jobs: Array(count).fill({ kind: "waits", input: 1 }) })).jobs;
    const jobs = await wait(60);
    const row = (index) => list(page).locator(`[data-row="${index}"]`);
    await page.goto(`${server.url}/ui/jobs?status=queued`);
    await expect(row(0)).toBeVisible();
    await scroll(page, 1_600);
    await row(45).click();
    await expect(page.getByRole("heading", { level: 1 })).toContainText("waits");
    for (const { job_id } of jobs.slice(left)) await server.post(`/v1/jobs/${job_id}/cancel`, {});
    // Nothing is kept but the place.
    await page.reload();
    await page.goBack();
    if (left === 0) await expect(page.getByText("No job is like that")).toBeVisible();
    else await expect(list(page).getByRole("listitem")).toHaveCount(left);
    expect(await page.evaluate(() => window.history.state.top)).toBeGreaterThan(1_000);
    const newer = await server.post("/v1/jobs", { kind: "waits", input: 1 });
    await expect(row(0)).toHaveAttribute("href", new RegExp(newer.job_id));
    // Now there are as many again as it was scrolled down.
    await wait(80);
    await expect(page.getByText(`${left + 81} loaded`)).toBeVisible();
    await expect(row(0)).toBeInViewport();
    expect(await top(page)).toBe(0);
  });
}

test("a job is found by metadata that holds a comma, from its page", async ({ page, server }) => {
  const metadata = { customer: "Smith, John" };
  const { job_id } = await server.post("/v1/jobs", { kind: "echo", input: 1, metadata });
  await page.goto(`${server.url}/ui/jobs/${job_id}`);
  await page.getByRole("link", { name: "Smith, John" }).click();
  await expect(list(page).getByRole("listitem")).toHaveCount(1);
  await expect(list(page).locator(`[href$="${job_id}"]`)).toBeVisible();
  await page.getByLabel("Metadata").fill("customer=Smith, John, tier=gold");
  await page.getByLabel("Metadata").press("Enter");
  await expect(page).toHaveURL(/metadata\.customer=Smith%2C\+John&metadata\.tier=gold/);
});

test("a job is opened by its id, and the list tells why one failed", async ({ page, server }) => {
  const held = await hold(server, "sinks");
  await tell(server, held, "fail", { error: { code: "hit_a_rock", message: "there was a rock" }, retryable: false });
  await page.goto(`${server.url}/ui/jobs?kind=sinks`);
  await expect(list(page).getByRole("listitem")).toContainText("hit_a_rock");
  await page.getByLabel("Job id").fill(` ${held.job_id} `);
  await page.getByLabel("Job id").press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toContainText("sinks");
});
