import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { send } from "../api/client";
import { useConnection } from "../live/hooks";
import { Boundary } from "./Boundary";
import { PAGES } from "./pages";
import { SESSION, useSession } from "./session";
import { SignIn } from "./SignIn";
import { applyTheme, storedTheme, type Theme } from "../theme";

const CONNECTIONS = { connecting: "connecting", open: "live", closed: "disconnected", off: "not live" };

export function Shell({ children }: { children: ReactNode }) {
  const [here] = useLocation();
  const connection = useConnection();
  const client = useQueryClient();
  const session = useSession();
  const who = session.data;
  const leave = useMutation({
    mutationFn: () => send("/v1/session", { method: "DELETE" }),
    onSuccess: () => client.setQueryData(SESSION, null),
  });
  const wasAway = useRef(false);
  useEffect(() => {
    if (connection === "closed") wasAway.current = true;
    if (connection !== "open" || !wasAway.current) return;
    wasAway.current = false;
    // What was asked for while the server was away is asked for again; a long list that somebody reads stays as it is.
    void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "jobs" });
  }, [client, connection]);
  useEffect(() => {
    const page = PAGES.find(({ path }) => isAt(here, path));
    document.title = page ? `${page.name} · Longhaul` : "Longhaul";
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
          {PAGES.filter((page) => !who || page.isFor(who)).map(({ path, name }) => (
            <Link key={path} href={path} aria-current={isAt(here, path) ? "page" : undefined}>
              {name}
            </Link>
          ))}
        </nav>
        <div className="foot">
          <span className={`badge ${connection === "open" ? "good" : connection === "off" ? "idle" : "warn"}`} role="status">
            {CONNECTIONS[connection]}
          </span>
          {who?.keyed && (
            <button onClick={() => leave.mutate()} disabled={leave.isPending}>
              Sign out
            </button>
          )}
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
        {connection === "closed" && !session.isPending && (
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

function isAt(here: string, path: string): boolean {
  return path === "/" ? here === "/" : here.startsWith(path);
}
