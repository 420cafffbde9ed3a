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
  await page.getByRole("button", { name: /^Open: Document of/ }).first().click();
  const document = page.getByRole("region", { name: "of before.md" });
  await document.getByLabel("Search in it").fill("harbour");
  await document.getByRole("button", { name: "Search" }).click();
  await expect(document.locator("blockquote").first()).toContainText("night train");
});

test("a document is fetched when it is opened, once, and more of them come at a click", async ({ page, own }) => {
  const server = await own("");
  const ids = [];
  for (let index = 0; index < 13; index += 1) {
    const form = new FormData();
    form.append("file", new Blob([`The ferry ${index} leaves at nine.`], { type: "text/plain" }), `ferry ${index}.txt`);
    const { job_id, document_id } = await (await fetch(`${server.url}/v1/documents`, { method: "POST", body: form })).json();
    ids.push([job_id, document_id]);
    expect((await server.get(`/v1/jobs/${job_id}?wait=30`)).status).toBe("succeeded");
  }
  const asked = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (/^\/v1\/(jobs|documents)\/./.test(pathname)) asked.push(pathname);
  });
  await page.goto(`${server.url}/ui/documents`);
  const opens = page.getByRole("button", { name: /^Open: Document of/ });
  await expect(opens).toHaveCount(12);
  expect(asked).toEqual([]);
  await page.getByRole("button", { name: "More documents" }).click();
  await expect(opens).toHaveCount(13);
  await opens.last().click();
  const opened = page.getByRole("region", { name: "ferry 0.txt" });
  await expect(opened.getByRole("list", { name: "Pages" })).toContainText("characters");
  await opened.getByLabel("Search in it").fill("ferry");
  await opened.getByRole("button", { name: "Search" }).click();
  await expect(opened.locator("blockquote").first()).toContainText("leaves at nine");
  const [job_id, document_id] = ids[0];
  expect(asked).toEqual([`/v1/jobs/${job_id}`, `/v1/documents/${document_id}`, `/v1/documents/${document_id}/search`]);
});
