import { defineConfig } from "@playwright/test";
import { chromium } from "./chromium.js";

// A page that is put in the server's place counts as one from outside, which Chromium keeps from sockets of this machine.
const ours = process.env.LONGHAUL_DIST ? ["--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"] : [];

// Files run beside each other, the tests of a file one after the other: they share the servers of their worker.
export default defineConfig({
  testDir: ".",
  testIgnore: ["load/**", ...(process.env.LONGHAUL_SCREENSHOTS ? [] : ["screenshots.spec.js"])],
  workers: Number(process.env.LONGHAUL_TEST_WORKERS ?? 2),
  // Long, for machines that are busy with other things; a quiet one needs seconds.
  timeout: 120_000,
  expect: { timeout: 30_000 },
  reporter: [["list"]],
  outputDir: process.env.LONGHAUL_TEST_OUTPUT ?? "../../target/dashboard-tests",
  use: {
    viewport: { width: 1280, height: 800 },
    trace: process.env.LONGHAUL_TRACE ? "retain-on-failure" : "off",
    launchOptions: { executablePath: chromium(), args: ["--no-sandbox", ...ours] },
    permissions: ["clipboard-read", "clipboard-write"],
  },
});
