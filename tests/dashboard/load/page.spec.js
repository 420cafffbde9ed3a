import { chat, configuration, expect, test } from "../server.js";
import { heap, jobs, loudness, steady, tasks, watchTasks } from "./load.js";

const MINUTES = Number(process.env.LONGHAUL_LOAD_MINUTES ?? 10);
const MB = 1_000_000;

test(`a page at 1,000 jobs a second has no long task and does not grow in ${MINUTES} minutes`, async ({ page, own }) => {
  const server = await own(configuration(), { LONGHAUL__STORE__RETENTION: "1m" });
  console.log(loudness());
  const stop = steady(server, 1_000);
  await watchTasks(page);
  const session = await page.context().newCDPSession(page);
  await page.goto(server.url);
  await expect(page.getByRole("region", { name: "The way of jobs" })).toContainText("succeeded", { ignoreCase: true });
  // The first seconds are the loading's own.
  const loaded = await page.evaluate(() => performance.now() + 10_000);
  const sizes = [];
  for (let minute = 0; minute <= MINUTES; minute += 1) {
    // A collection is a long task of the measurement's own: what follows it at once is not the page's.
    sizes.push(await heap(session));
    const calls = Promise.all(Array.from({ length: 20 }, () => server.post("/v1/jobs", { kind: "llm.chat", input: chat("slowly") })));
    if (minute < MINUTES) await page.waitForTimeout(60_000);
    await calls;
  }
  const { perSecond, failed } = await stop();
  const all = await tasks(page);
  const late = all.filter((task) => task.at > loaded);
  console.log(`${perSecond} jobs/s, ${failed} batches failed; heap by the minute: ${sizes.map((size) => (size / MB).toFixed(1)).join(" ")} MB`);
  console.log(`long tasks while loading: ${JSON.stringify(all.filter((task) => task.at <= loaded))}; afterwards: ${JSON.stringify(late)}; ${loudness()}`);
  expect(sizes.at(-1) - sizes[Math.min(2, sizes.length - 2)]).toBeLessThan(2 * MB);
  expect(late).toEqual([]);
});

test("a list of 100,000 jobs is scrolled to its end", async ({ page, own }) => {
  const server = await own(configuration());
  const COUNT = 100_000;
  for (let batch = 0; batch < COUNT / 1_000; batch += 1) await server.post("/v1/jobs/bulk", { jobs: jobs(1_000) });
  await watchTasks(page);
  const session = await page.context().newCDPSession(page);
  await page.goto(`${server.url}/ui/jobs`);
  const list = page.getByRole("list", { name: "Jobs, newest first" });
  await expect(list.getByRole("link").first()).toBeVisible();
  const begun = Date.now();
  // To the end of what is loaded, again and again, as somebody does who holds the End key.
  await page.evaluate(async () => {
    const list = document.querySelector(".list");
    const isDone = () => document.body.textContent.includes("and that is all");
    while (!isDone()) {
      list.scrollTop = list.scrollHeight;
      await new Promise((resume) => requestAnimationFrame(resume));
    }
  });
  const took = (Date.now() - begun) / 1_000;
  await expect(page.getByText(`${COUNT.toLocaleString("en")} loaded`)).toBeVisible();
  const rows = await list.getByRole("listitem").count();
  expect(rows).toBeLessThan(100);
  // From anywhere to anywhere the rows are there at once.
  const drawn = await page.evaluate(async (count) => {
    const list = document.querySelector(".list");
    const times = [];
    for (let jump = 0; jump < 40; jump += 1) {
      const row = Math.floor((count - 30) * ((jump * 0.381966) % 1));
      const begun = performance.now();
      list.scrollTop = row * 40;
      do await new Promise((resume) => requestAnimationFrame(resume));
      while (!list.querySelector(`[data-row="${row + 2}"]`));
      times.push(performance.now() - begun);
    }
    return times.sort((a, b) => a - b);
  }, COUNT);
  const long = await tasks(page);
  console.log(`100,000 jobs loaded by scrolling in ${took.toFixed(1)} s, ${rows} rows in the page, heap ${((await heap(session)) / MB).toFixed(1)} MB`);
  console.log(`a jump to any place is drawn after ${drawn[20].toFixed(0)} ms (median), ${drawn[39].toFixed(0)} ms (worst of 40)`);
  console.log(`${long.length} tasks over 50 ms, the longest ${Math.max(0, ...long.map((task) => task.ms))} ms; ${loudness()}`);
  expect(drawn[39]).toBeLessThan(1_000);
});
