import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, StrictMode, Suspense } from "react";
import { createRoot } from "react-dom/client";
import { Redirect, Route, Switch } from "wouter";
import { ApiError } from "./api/client";
import { PAGES } from "./parts/pages";
import { useSession } from "./parts/session";
import { Shell } from "./parts/Shell";
import { Loading } from "./parts/show";
import { applyTheme, storedTheme } from "./theme";
import "./style.css";

// Each page comes when it is opened: the first load is what the first page needs.
const pages = {
  Overview: () => import("./pages/Overview"),
  Jobs: () => import("./pages/Jobs"),
  Job: () => import("./pages/Job"),
  Models: () => import("./pages/Models"),
  Queues: () => import("./pages/Queues"),
  Workers: () => import("./pages/Workers"),
  Documents: () => import("./pages/Documents"),
  Playground: () => import("./pages/Playground"),
};
const Overview = lazy(pages.Overview);
const Jobs = lazy(pages.Jobs);
const JobPage = lazy(pages.Job);
const Models = lazy(pages.Models);
const Queues = lazy(pages.Queues);
const Workers = lazy(pages.Workers);
const Documents = lazy(pages.Documents);
const Playground = lazy(pages.Playground);

/** The first page that whoever looks may see. */
function Home() {
  const { data: who } = useSession();
  const first = PAGES.find((page) => !who || page.isFor(who));
  return !first || first.path === "/" ? <Overview /> : <Redirect to={first.path} replace />;
}

/** When nothing else is to be done the other pages are fetched, so that they open at once, also while the server is away. */
function fetchOthers(): void {
  const rest = Object.values(pages);
  const next = () => {
    const load = rest.shift();
    // One that cannot be had now is asked for again when it is opened.
    if (load) void load().catch(() => undefined).then(() => idle(next));
  };
  idle(next);
}

function idle(work: () => void): void {
  if ("requestIdleCallback" in window) window.requestIdleCallback(work, { timeout: 5_000 });
  else setTimeout(work, 200);
}

applyTheme(storedTheme());

const queries = new QueryClient({
  defaultOptions: {
    // What a browser thinks of its network is often wrong. Every request is tried at once and fails visibly: a click that
    // is kept, and carried out when the network is back, comes when nobody expects it any more.
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      staleTime: 2_000,
      // What the server refuses once it refuses twice; what cannot be reached may be back in a moment.
      retry: (failures, error) => failures < 3 && !(error instanceof ApiError && error.problem.status < 500),
    },
  },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <Shell>
          <Suspense fallback={<Loading what="the page" />}>
            <Switch>
              <Route path="/" component={Home} />
              <Route path="/ui/jobs" component={Jobs} />
              <Route path="/ui/jobs/:id">{({ id }) => <JobPage key={id} id={id} />}</Route>
              <Route path="/ui/models" component={Models} />
              <Route path="/ui/queues" component={Queues} />
              <Route path="/ui/workers" component={Workers} />
              <Route path="/ui/documents" component={Documents} />
              <Route path="/ui/playground" component={Playground} />
              <Route>
                <h1>No such page</h1>
                <p>
                  <a href="/">Overview</a>
                </p>
              </Route>
            </Switch>
          </Suspense>
        </Shell>
      </QueryClientProvider>
    </StrictMode>,
  );
  fetchOthers();
}
