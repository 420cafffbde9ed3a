import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { JobEvent, Stats } from "../api/client";
import { live, type Connection } from "./socket";

export function useConnection(): Connection {
  return useSyncExternalStore(live.watch, live.state);
}

/** How many points a series keeps: five minutes at one a second. */
const POINTS = 300;

export interface Point {
  at: number;
  stats: Stats;
}

let series: Point[] = [];

/** The newest figures, and those of the last five minutes. Kept while the page is open, whichever part of it shows. */
export function useStats(): { newest: Stats | undefined; series: Point[] } {
  const [points, setPoints] = useState(series);
  useEffect(
    () =>
      live.stats((stats) => {
        series = [...series.slice(-(POINTS - 1)), { at: Date.parse(stats.time) / 1000, stats }];
        setPoints(series);
      }),
    [],
  );
  return { newest: points.at(-1)?.stats, series: points };
}

export interface Followed {
  events: JobEvent[];
  text: string;
  items: unknown[];
  over: boolean;
  failure: string | undefined;
}

const NOTHING: Followed = { events: [], text: "", items: [], over: false, failure: undefined };

interface Delta {
  text?: string;
  items?: unknown[];
}

/** A job's events from the first on, and the output that they make. Drawn at most once a frame. */
export function useJobEvents(id: string): Followed {
  const [followed, setFollowed] = useState(NOTHING);
  const pending = useRef<JobEvent[]>([]);
  useEffect(() => {
    let frame = 0;
    let all: JobEvent[] = [];
    setFollowed(NOTHING);
    const draw = () => {
      frame = 0;
      all = [...all, ...pending.current];
      pending.current = [];
      setFollowed((before) => ({ ...before, ...output(all) }));
    };
    const stop = live.job(id, 0, {
      event: (event) => {
        pending.current.push(event);
        frame ||= requestAnimationFrame(draw);
      },
      end: () => setFollowed((before) => ({ ...before, over: true })),
      fail: (failure) => setFollowed((before) => ({ ...before, failure })),
    });
    return () => {
      cancelAnimationFrame(frame);
      pending.current = [];
      stop();
    };
  }, [id]);
  return followed;
}

/** Deltas in order, without those that a reset has made void. */
function output(events: JobEvent[]): { events: JobEvent[]; text: string; items: unknown[] } {
  let deltas: JobEvent[] = [];
  for (const event of events) {
    if (event.type === "job.output.delta") deltas.push(event);
    if (event.type === "job.output.reset") {
      const keep = Number((event.data as { keep_through?: number }).keep_through ?? 0);
      deltas = deltas.filter((delta) => delta.seq <= keep);
    }
  }
  const data = deltas.map((delta) => delta.data as Delta);
  return {
    events: events.filter((event) => event.type !== "job.output.delta"),
    text: data.map((delta) => delta.text ?? "").join(""),
    items: data.flatMap((delta) => delta.items ?? []),
  };
}
