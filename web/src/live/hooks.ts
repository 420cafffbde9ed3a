import { startTransition, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Stats } from "../api/client";
import { NOTHING, Output, type Followed } from "./output";
import { live, type Connection } from "./socket";

export type { Followed } from "./output";

export function useConnection(): Connection {
  return useSyncExternalStore(live.watch, live.state);
}

/** How many points a series keeps: five minutes at one a second. */
const POINTS = 300;

/** What is drawn, column by column: memory is bounded by the number of points, not by what a message holds. */
export interface Series {
  at: number[];
  submitted: number[];
  ended: number[];
  calls: number[];
  p50: number[];
  p95: number[];
  p99: number[];
  queued: number[];
  running: number[];
}

const EMPTY: Series = { at: [], submitted: [], ended: [], calls: [], p50: [], p95: [], p99: [], queued: [], running: [] };

export interface Figures {
  newest: Stats | undefined;
  series: Series;
  /** When the newest came, by this machine's clock; 0 when none has. */
  at: number;
  /** Why none come at the moment. */
  failure: string | undefined;
}

const NO_FIGURES: Figures = { newest: undefined, series: EMPTY, at: 0, failure: undefined };

let kept: Figures = NO_FIGURES;

/** Whoever looks next may be somebody else. */
export function forgetFigures(): void {
  kept = NO_FIGURES;
}

function with_(series: Series, stats: Stats): Series {
  const point: Record<keyof Series, number> = {
    at: Date.parse(stats.time) / 1_000,
    submitted: stats.jobs.submitted_per_s,
    ended: stats.jobs.ended_per_s,
    calls: stats.models.reduce((sum, model) => sum + model.calls_per_s, 0),
    p50: stats.latency_ms.total.p50,
    p95: stats.latency_ms.total.p95,
    p99: stats.latency_ms.total.p99,
    queued: stats.jobs.queued,
    running: stats.jobs.running,
  };
  // A server that was started anew may tell an earlier time: what is drawn goes forward only.
  const last = series.at.at(-1);
  const before = last !== undefined && point.at <= last ? EMPTY : series;
  const names = Object.keys(point) as (keyof Series)[];
  return Object.fromEntries(names.map((name) => [name, [...before[name].slice(-(POINTS - 1)), point[name]]])) as unknown as Series;
}

/** The newest figures, and those of the last five minutes. Kept while the page is open, whichever part of it shows. */
export function useStats(): Figures {
  const [shown, show] = useState(kept);
  useEffect(() => {
    const keep = (next: Figures) => {
      kept = next;
      // Figures can wait for what a person does.
      startTransition(() => show(kept));
    };
    return live.stats({
      figures: (stats) => {
        // Several parts of a page may listen: the first to hear adds the point.
        const isNew = kept.newest?.time !== stats.time;
        keep(isNew ? { newest: stats, series: with_(kept.series, stats), at: Date.now(), failure: undefined } : { ...kept, failure: undefined });
      },
      fail: (failure) => keep({ ...kept, failure }),
    });
  }, []);
  return shown;
}

/** Figures come once a second. Those that are older say nothing of how things stand. */
const OLD_MS = 5_000;

/** How old figures of `at` are, in milliseconds, when they are too old to judge by; else undefined. */
export function useAge(at: number): number | undefined {
  const now = useNow(1_000, true);
  // What was kept from before gets as long to be replaced.
  const [since] = useState(() => Date.now());
  return at > 0 && now - Math.max(at, since) > OLD_MS ? now - at : undefined;
}

/** A job's events from the first on, and the output that they make. Drawn at most once a frame. */
export function useJobEvents(id: string): Followed {
  const [followed, setFollowed] = useState(NOTHING);
  useEffect(() => {
    let frame = 0;
    const output = new Output();
    setFollowed(NOTHING);
    const draw = () => {
      frame = 0;
      startTransition(() => setFollowed((before) => ({ ...before, ...output.view() })));
    };
    const stop = live.job(id, 0, {
      event: (event) => {
        output.push(event);
        frame ||= requestAnimationFrame(draw);
      },
      trimmed: () => output.trim(),
      end: () => setFollowed((before) => ({ ...before, over: true })),
      fail: (failure) => setFollowed((before) => ({ ...before, failure })),
    });
    return () => {
      cancelAnimationFrame(frame);
      stop();
    };
  }, [id]);
  return followed;
}

/** The time, told again every so many milliseconds while `isOn`. */
export function useNow(everyMs: number, isOn: boolean): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!isOn) return;
    const timer = window.setInterval(() => setNow(Date.now()), everyMs);
    return () => window.clearInterval(timer);
  }, [everyMs, isOn]);
  return now;
}

/** `value`, told at most once every so many milliseconds; the newest is told in the end. */
export function useThrottled<T>(value: T, everyMs: number): T {
  const [told, tell] = useState(value);
  const toldAt = useRef(0);
  useEffect(() => {
    const timer = window.setTimeout(
      () => {
        toldAt.current = Date.now();
        tell(value);
      },
      Math.max(0, toldAt.current + everyMs - Date.now()),
    );
    return () => window.clearTimeout(timer);
  }, [value, everyMs]);
  return told;
}
