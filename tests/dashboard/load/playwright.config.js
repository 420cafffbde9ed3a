import { defineConfig } from "@playwright/test";
import { chromium } from "../chromium.js";

// One after the other: what is measured is not to be disturbed by its neighbours.
export default defineConfig({
  testDir: ".",
  workers: 1,
  timeout: 30 * 60_000,
  expect: { timeout: 60_000 },
  reporter: [["list"]],
  outputDir: process.env.LONGHAUL_TEST_OUTPUT ?? "../../../target/dashboard-load",
  use: { viewport: { width: 1280, height: 800 }, launchOptions: { executablePath: chromium(), args: ["--no-sandbox", "--enable-precise-memory-info"] } },
});
