import { defineConfig } from "@playwright/test";
import { chromium } from "./chromium.js";

// A page that is put in the server's place counts as one from outside, which Chromium keeps from sockets of this machine.
const ours = process.env.LONGHAUL_DIST ? ["--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"] : [];

// One worker: every test has servers of its own, and what is measured is the page, not how many of them run at once.
export default defineConfig({
  testDir: ".",
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 30_000 },
  reporter: [["list"]],
  outputDir: process.env.LONGHAUL_TEST_OUTPUT ?? "../../target/dashboard-tests",
  use: {
    viewport: { width: 1280, height: 800 },
    trace: "retain-on-failure",
    launchOptions: { executablePath: chromium(), args: ["--no-sandbox", ...ours] },
  },
});
