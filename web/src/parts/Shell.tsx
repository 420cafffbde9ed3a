import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { useConnection } from "../live/hooks";
import { Boundary } from "./Boundary";
import { SignIn } from "./SignIn";
import { applyTheme, storedTheme, type Theme } from "../theme";

const PAGES = [
  ["/", "Overview"],
  ["/ui/jobs", "Jobs"],
  ["/ui/models", "Models"],
  ["/ui/queues", "Queues"],
  ["/ui/workers", "Workers"],
  ["/ui/documents", "Documents"],
  ["/ui/playground", "Playground"],
] as const;

export function Shell({ children }: { children: ReactNode }) {
  const [here] = useLocation();
  const connection = useConnection();
  const client = useQueryClient();
  const wasAway = useRef(false);
  useEffect(() => {
    if (connection === "closed") wasAway.current = true;
    if (connection !== "open" || !wasAway.current) return;
    wasAway.current = false;
    // What was asked for while the server was away is asked for again; a long list that somebody reads stays as it is.
    void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "jobs" });
  }, [client, connection]);
  useEffect(() => {
    const page = PAGES.find(([path]) => (path === "/" ? here === "/" : here.startsWith(path)))?.[1];
    document.title = page ? `${page} · Longhaul` : "Longhaul";
  }, [here]);
  const [theme, setTheme] = useState<Theme>(storedTheme);
  return (
    <div className="shell">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <aside className="side">
        <Link className="brand" href="/">
          <img src="/favicon.svg" alt="" /> Longhaul
        </Link>
        <nav aria-label="Pages">
          {PAGES.map(([path, name]) => {
            const current = path === "/" ? here === "/" : here.startsWith(path);
            return (
              <Link key={path} href={path} aria-current={current ? "page" : undefined}>
                {name}
              </Link>
            );
          })}
        </nav>
        <div className="foot">
          <span className={`badge ${connection === "open" ? "good" : "warn"}`} role="status">
            {connection === "open" ? "live" : connection === "connecting" ? "connecting" : "disconnected"}
          </span>
          <label>
            Theme
            <select
              value={theme}
              onChange={(change) => {
                const next = change.target.value as Theme;
                setTheme(next);
                applyTheme(next);
              }}
            >
              <option value="system">As the system</option>
              <option value="light">Light</option>
              <option value="dark">Dark</option>
            </select>
          </label>
          <a href="/docs">API reference</a>
        </div>
      </aside>
      <main id="content">
        {connection === "closed" && (
          <div className="banner warn" role="alert">
            The server cannot be reached. What you see may be old; the page connects again by itself, and nothing is lost.
          </div>
        )}
        <SignIn>
          <Boundary key={here}>{children}</Boundary>
        </SignIn>
      </main>
    </div>
  );
}
