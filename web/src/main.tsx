import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Route, Switch } from "wouter";
import { ApiError } from "./api/client";
import { Shell } from "./parts/Shell";
import { Documents } from "./pages/Documents";
import { JobPage } from "./pages/Job";
import { Jobs } from "./pages/Jobs";
import { Models } from "./pages/Models";
import { Overview } from "./pages/Overview";
import { Playground } from "./pages/Playground";
import { Queues } from "./pages/Queues";
import { Workers } from "./pages/Workers";
import { applyTheme, storedTheme } from "./theme";
import "./style.css";

applyTheme(storedTheme());

const queries = new QueryClient({
  defaultOptions: {
    queries: {
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
          <Switch>
            <Route path="/" component={Overview} />
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
        </Shell>
      </QueryClientProvider>
    </StrictMode>,
  );
}
