/** Pictures of every page with work going on, for the documentation: `tests/dashboard/run screenshots` takes them anew. */
import { resolve } from "node:path";
import { chat, expect, test } from "./server.js";

const WHERE = resolve(process.env.LONGHAUL_SCREENSHOTS ?? "../../docs/images/dashboard");

const CONFIGURATION = `
[queues.default]
concurrency = 64
[queues.nightly]
concurrency = 4
[providers.quick]
protocol = "sim"
sim = { first_token = { ms = 40 }, tokens_per_second = 160, min_tokens = 20, max_tokens = 60 }
[providers.small]
protocol = "sim"
sim = { first_token = { ms = 90 }, tokens_per_second = 60, min_tokens = 30, max_tokens = 60 }
[providers.down]
protocol = "openai"
flavor = "compatible"
base_url = "http://127.0.0.1:9/v1"

[models.smart]
cache = { ttl = "1h", max_entries = 10000 }
[[models.smart.targets]]
name = "first"
provider = "quick"
model = "sim-large"
price = { input_per_mtok = 2.5, output_per_mtok = 10.0 }
[[models.smart.targets]]
name = "second"
provider = "small"
model = "sim-small"
price = { input_per_mtok = 0.15, output_per_mtok = 0.6 }

[models.fragile]
[[models.fragile.targets]]
name = "away"
provider = "down"
model = "sim-large"
retry = { max_retries = 1, initial = "150ms", max = "400ms" }
breaker = { failures = 6, open_for = "10m" }
[[models.fragile.targets]]
name = "stand-in"
provider = "small"
model = "sim-small"
price = { input_per_mtok = 0.15, output_per_mtok = 0.6 }
`;

const QUESTIONS = ["When does the night train leave?", "May I bring my dog?", "Where do I change for the harbour?", "How do I return a ticket?"];
const TIMETABLE = ["The night train to the harbour leaves at ten and calls at every station.", "Dogs travel free of charge.", "Tickets are returned until an hour before the train leaves.", "The harbour ferry meets the night train."]
  .map((text, index) => `# ${["Timetable", "Dogs", "Tickets", "Ferries"][index]}\n\n${text}\n`).join("\n");

/** Traffic until `stop`: questions of which many repeat, small jobs, and a job for a worker that takes its time. */
function traffic(server) {
  let isOn = true;
  const ask = async (index) => {
    const question = index % 3 === 0 ? `${QUESTIONS[index % 4]} And on the ${index}th?` : QUESTIONS[index % 4];
    const team = ["search", "support", "billing"][index % 3];
    const model = index % 17 === 0 ? "fragile" : "smart";
    const jobs = [
      { kind: "llm.chat", input: chat(model, question), metadata: { team } },
      { kind: "echo", input: { index }, metadata: { team } },
      ...(index % 5 === 0 ? [{ kind: "analysis", input: { text: `${question} The staff were wonderful.` } }] : []),
      ...(index % 9 === 0 ? [{ kind: "echo", input: index, queue: "nightly" }] : []),
    ];
    await server.post("/v1/jobs/bulk", { jobs });
  };
  const done = (async () => {
    for (let index = 0; isOn; index += 1) {
      await ask(index).catch(() => undefined);
      await new Promise((resume) => setTimeout(resume, 120));
    }
  })();
  return async () => {
    isOn = false;
    await done;
  };
}

async function worker(server) {
  await server.call("PUT", "/v1/kinds/render.video", { description: "Renders a clip.", queue: "nightly" });
  for (let index = 0; index < 5; index += 1) await server.post("/v1/jobs", { kind: "render.video", input: { clip: index } });
  for (const worker_id of ["render-1", "render-2"]) {
    const claim = { worker_id, kinds: ["render.video"], max: 2, wait_s: 5, lease_s: 600 };
    const { body } = await server.call("POST", "/v1/worker/claims", claim);
    for (const [index, job] of (body?.jobs ?? []).entries()) {
      const progress = { fraction: 0.2 + 0.4 * index, message: `frame ${120 * (index + 1)} of 400` };
      await server.call("POST", `/v1/worker/jobs/${job.job_id}/heartbeat`, { progress }, { "longhaul-lease": job.lease_token });
    }
  }
}

test("every page, in light and dark", async ({ page, own }) => {
  test.setTimeout(300_000);
  const server = await own(CONFIGURATION);
  const stop = traffic(server);
  await worker(server);
  const form = new FormData();
  form.append("file", new Blob([TIMETABLE], { type: "text/markdown" }), "timetable.md");
  const document = await (await fetch(`${server.url}/v1/documents`, { method: "POST", body: form })).json();
  await server.get(`/v1/jobs/${document.job_id}?wait=30`);
  const told = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("fragile", "When does the night train leave?"), metadata: { team: "support" } });
  await server.get(`/v1/jobs/${told.job_id}?wait=30`);

  const shoot = async (name) => {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      // Plots are drawn anew in their colours.
      await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
      await page.screenshot({ path: `${WHERE}/${name}-${colorScheme}.png` });
    }
  };
  const shootPhone = async (name) => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "light" });
    await page.evaluate(() => new Promise((resume) => requestAnimationFrame(() => requestAnimationFrame(resume))));
    await page.screenshot({ path: `${WHERE}/${name}-phone.png` });
    await page.setViewportSize({ width: 1280, height: 800 });
  };
  await page.goto(server.url);
  // Long enough for the plots to have a shape.
  const from = Date.now();
  await expect.poll(() => Date.now() - from, { timeout: 120_000, intervals: [1_000] }).toBeGreaterThan(Number(process.env.LONGHAUL_SCREENSHOTS_AFTER_MS ?? 70_000));
  await shoot("overview");
  await shootPhone("overview");
  const open = async (name) => {
    await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
    await expect(page.getByRole("heading", { level: 1, name })).toBeVisible();
  };
  await open("Jobs");
  await expect(page.getByRole("listitem").nth(8)).toBeVisible();
  await shoot("jobs");
  await shootPhone("jobs");
  await open("Models");
  await expect(page.getByRole("region", { name: "fragile" })).toContainText("away");
  await shoot("models");
  await open("Queues");
  await expect(page.getByRole("row", { name: /^nightly/ })).toBeVisible();
  await shoot("queues");
  await open("Workers");
  await expect(page.getByRole("region", { name: "render-1" })).toBeVisible();
  await shoot("workers");
  await open("Documents");
  await page.getByRole("button", { name: /^Open: Document of/ }).first().click();
  const card = page.getByRole("region", { name: "timetable.md" });
  await card.getByLabel("Search in it").fill("dogs");
  await card.getByRole("button", { name: "Search" }).click();
  await expect(card.locator("blockquote").first()).toBeVisible();
  await shoot("documents");
  await open("Playground");
  const job = page.getByRole("form", { name: "A job" });
  await job.getByRole("button", { name: "Send" }).click();
  const asked = page.getByRole("form", { name: "A chat" });
  await asked.getByLabel("Model").selectOption("smart");
  await asked.getByRole("button", { name: "Ask" }).click();
  await expect(asked.getByLabel("How it came about")).toBeVisible();
  await expect(page.getByTestId("output")).toBeVisible();
  await page.evaluate(() => window.scrollTo(0, 0));
  await shoot("playground");
  await page.goto(`${server.url}/ui/jobs/${told.job_id}`);
  await expect(page.locator(".fall")).toContainText("another target answered");
  await shoot("job");
  await shootPhone("job");
  await stop();
});
