/** The pages, and for whom each is: one on which the server would refuse everything is not offered. */
import { may, operates, seesAll, type Session } from "./session";

export interface Page {
  path: string;
  name: string;
  isFor: (who: Session) => boolean;
}

const reads = (who: Session) => may(who, "jobs:read");

export const PAGES: Page[] = [
  { path: "/", name: "Overview", isFor: seesAll },
  { path: "/ui/jobs", name: "Jobs", isFor: reads },
  { path: "/ui/models", name: "Models", isFor: operates },
  { path: "/ui/queues", name: "Queues", isFor: seesAll },
  { path: "/ui/workers", name: "Workers", isFor: reads },
  { path: "/ui/documents", name: "Documents", isFor: reads },
  { path: "/ui/playground", name: "Playground", isFor: (who) => may(who, "jobs:write") || may(who, "llm") },
];
