import type { ReactNode } from "react";
import { useAge, useConnection, type Figures } from "../live/hooks";
import { duration } from "./show";

/** What judges by figures, or says why it does not: those of so long ago say nothing of how things stand. */
export function Judged({ at, failure, children }: { at: number; failure: string | undefined; children?: ReactNode }) {
  const age = useAge(at);
  const connection = useConnection();
  if (age === undefined) return children;
  const why = connection !== "open" ? "the server cannot be reached" : failure ? "the store does not answer" : "the server sends none";
  return (
    <section className="banner bad" aria-label="Alerts">
      {/* Read out once, not every second: the age stands beside it. */}
      <strong role="alert">The figures are old: {why}.</strong> They are {duration(Math.floor(age / 1_000) * 1_000)} old. What stands below was so then;
      nobody knows how it is now.
    </section>
  );
}

/** The same for a page that shows figures and judges nothing. */
export function OldFigures({ figures }: { figures: Figures }) {
  return <Judged at={figures.newest ? figures.at : 0} failure={figures.failure} />;
}
