import AxeBuilder from "@axe-core/playwright";
import { chat, expect, test } from "./server.js";

const PAGES = ["/", "/ui/jobs", "/ui/models", "/ui/queues", "/ui/workers", "/ui/documents", "/ui/playground"];

for (const colorScheme of ["light", "dark"]) {
  test(`no page has a serious fault in ${colorScheme}, nor is any wider than a phone`, async ({ page, server }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    // Sixteen pages, each looked through as a whole.
    test.slow();
    const { job_id } = await server.post("/v1/jobs", { kind: "llm.chat", input: chat("smart") });
    await server.post("/v1/jobs", { kind: "llm.chat", input: chat("slowest") });
    expect((await server.get(`/v1/jobs/${job_id}?wait=30`)).status).toBe("succeeded");
    for (const path of [...PAGES, `/ui/jobs/${job_id}`]) {
      await page.setViewportSize({ width: 1280, height: 800 });
      await page.goto(server.url + path);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      const { violations } = await new AxeBuilder({ page }).analyze();
      const serious = violations.filter((fault) => ["serious", "critical"].includes(fault.impact));
      expect.soft(serious.map((fault) => `${path}: ${fault.id} at ${fault.nodes.map((node) => node.target).join(" | ")}`)).toEqual([]);
      await page.setViewportSize({ width: 390, height: 844 });
      // Charts are drawn anew for their width a moment after the window has it.
      const tooWide = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      await expect.poll(tooWide, `${path} at phone width`).toBeLessThanOrEqual(0);
    }
  });
}
