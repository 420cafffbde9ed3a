import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the page and passes everything else on to a Longhaul server.
const server = process.env.LONGHAUL_URL ?? "http://127.0.0.1:8080";
const routes = ["/v1", "/api", "/jobs", "/documents", "/process", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs"];

export default defineConfig({
  plugins: [react()],
  // Served by the binary under /assets, with names that change with their content.
  build: { outDir: "dist", assetsDir: "assets", sourcemap: false, target: "es2022", modulePreload: { polyfill: false } },
  server: { proxy: Object.fromEntries(routes.map((route) => [route, { target: server, ws: route === "/v1" }])) },
});
