import { expect, test } from "./server.js";

const TIMETABLE = "# Timetable\n\nThe night train to the harbour leaves at ten.\n\n# Dogs\n\nDogs travel free of charge.\n";

test("a document is chosen, read page by page, and searched", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/documents`);
  await page.getByLabel("Files").setInputFiles({ name: "timetable.md", mimeType: "text/markdown", buffer: Buffer.from(TIMETABLE) });
  const document = page.getByRole("region", { name: "timetable.md" });
  await expect(document).toContainText("succeeded");
  await expect(document.getByRole("list", { name: "Pages" }).getByRole("listitem")).toHaveCount(1);
  await document.getByLabel("Search in it").fill("dogs");
  await document.getByRole("button", { name: "Search" }).click();
  await expect(document.locator("blockquote").first()).toContainText("free of charge");
});

test("files that are dropped are taken one by one, and one that is refused does not keep the others out", async ({ page, server }) => {
  await page.goto(`${server.url}/ui/documents`);
  await expect(page.getByText("Drop files here")).toBeVisible();
  const dropped = await page.evaluateHandle(() => {
    const files = new DataTransfer();
    files.items.add(new File([], "empty.txt", { type: "text/plain" }));
    files.items.add(new File(["The ferry leaves at nine."], "ferry.txt", { type: "text/plain" }));
    return files;
  });
  await page.dispatchEvent(".drop", "drop", { dataTransfer: dropped });
  await expect(page.getByRole("region", { name: "ferry.txt" })).toContainText("succeeded");
  await expect(page.getByText("empty.txt was not taken")).toBeVisible();
});

test("documents of before are there when one comes back", async ({ page, server }) => {
  const form = new FormData();
  form.append("file", new Blob([TIMETABLE], { type: "text/markdown" }), "of before.md");
  const answer = await fetch(`${server.url}/v1/documents`, { method: "POST", body: form });
  const { job_id } = await answer.json();
  await server.get(`/v1/jobs/${job_id}?wait=30`);
  await page.goto(`${server.url}/ui/documents`);
  const document = page.getByRole("region", { name: "of before.md" });
  await document.getByLabel("Search in it").fill("harbour");
  await document.getByRole("button", { name: "Search" }).click();
  await expect(document.locator("blockquote").first()).toContainText("night train");
});
