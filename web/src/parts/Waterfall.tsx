/** A job's life on one line of time: waits, attempts, and for every model call what each layer decided. */
import { useMemo } from "react";
import type { Attempt, Job, JobEvent } from "../api/client";
import { useNow } from "../live/hooks";
import { duration, Empty } from "./show";

/** More is no picture any more. The newest are drawn; all of them are in the events. */
const BARS_MOST = 300;

interface Bar {
  name: string;
  from: number;
  to: number;
  tint: string;
  note: string;
  inner?: boolean;
}

export function Waterfall({ job, attempts, events }: { job: Job; attempts: Attempt[]; events: JobEvent[] }) {
  const now = useNow(1_000, !job.finished_at);
  const all = useMemo(() => barsOf(job, attempts, events, now), [job, attempts, events, now]);
  if (all.length === 0) return <Empty>It has not begun.</Empty>;
  const bars = all.slice(-BARS_MOST);
  const begin = Math.min(Date.parse(job.created_at), ...bars.map((bar) => bar.from));
  const end = Math.max(begin + 1, ...bars.map((bar) => bar.to));
  const place = (at: number) => `${((at - begin) / (end - begin)) * 100}%`;
  return (
    <div className="fall">
      <div className="bar axis" aria-hidden="true">
        <span className="what" />
        <span className="scale">
          {[0, 0.25, 0.5, 0.75, 1].map((part) => (
            <span key={part} style={{ left: `${part * 100}%` }}>
              {part === 0 ? "0" : duration((end - begin) * part)}
            </span>
          ))}
        </span>
        <span />
      </div>
      {all.length > bars.length && <p className="faint">{all.length - bars.length} earlier lines are not drawn</p>}
      {bars.map((bar, index) => (
        <div className={bar.inner ? "bar inner" : "bar"} key={index}>
          <span className="what">
            {bar.name} {bar.note && <span className="faint">{bar.note}</span>}
          </span>
          <span className={`track ${bar.tint}`}>
            <span style={{ left: place(bar.from), width: `${Math.max(0, ((bar.to - bar.from) / (end - begin)) * 100)}%` }} />
          </span>
          <span className="faint number">{bar.to > bar.from ? duration(bar.to - bar.from) : `at ${duration(bar.from - begin)}`}</span>
        </div>
      ))}
    </div>
  );
}

const OUTCOMES: Record<string, string> = {
  succeeded: "good", failed: "bad", crashed: "bad", running: "busy", cancelled: "warn", deadline_exceeded: "bad",
};

/** What one call of a model went through: the data of a `job.layer` event. */
export interface CallRecord {
  model: string;
  target: string | null;
  cache: string;
  attempts: number;
  degraded: boolean;
  error: { code: string; message: string } | null;
  took_us: number;
  first_token_us: number | null;
  layers: Decision[];
}

interface Decision {
  at_us: number;
  layer: string;
  decision: string;
  /** Milliseconds where the decision took or takes time, else a count. */
  detail: number;
  stack: string;
}

/** Decisions in words, where their name alone does not tell. */
const WORDS: Record<string, string> = {
  "cache.hit": "the cache had the answer",
  "cache.stale": "the cache had an old answer, which was given",
  "cache.stale_on_error": "an old answer from the cache, because the call failed",
  "cache.miss": "the cache had no answer",
  "cache.coalesced": "answered by the same call of another",
  "cache.bypassed": "the cache was not asked",
  "primary.failed": "the first target failed",
  "fallback.start": "the next target is asked",
  "fallback.success": "another target answered",
  "fallback.failed": "that target failed too",
  "retry.exhausted": "no retries are left",
  "retry.budget_spent": "the retry budget is spent",
  "retry.parked": "too long a wait to sleep through",
  "retry.no_time": "no time for another try",
  "breaker.rejected": "turned away: the breaker is open",
  "breaker.opened": "the breaker opened",
  "breaker.half_opened": "the breaker lets probes through",
  "breaker.closed": "the breaker closed",
  "breaker.probe": "goes as a probe",
  "limit.rejected": "turned away by the rate limit",
  "bulkhead.rejected": "turned away: no place",
  "attempt_timeout.cut": "cut off: the attempt took too long",
  "deadline.cut": "cut off by the deadline",
  "deadline.refused": "the deadline had passed",
  "call.ok": "the provider answered",
  "call.failed": "the provider failed",
};

const GOOD = new Set(["cache.hit", "cache.coalesced", "fallback.success", "breaker.closed", "call.ok", "hedge.won"]);
const BAD = new Set(["call.failed", "primary.failed", "fallback.failed", "breaker.rejected", "breaker.opened", "limit.rejected", "bulkhead.rejected", "attempt_timeout.cut", "deadline.cut", "deadline.refused", "retry.exhausted"]);

/** A layer's decision: a call reaches back over the time it took, a wait too, one before a retry forward; all else is a moment. */
function decided(decision: Decision, began: number): Bar {
  const at = began + decision.at_us / 1_000;
  const note = WORDS[decision.decision] ?? decision.decision.replaceAll(/[._]/g, " ");
  const tint = GOOD.has(decision.decision) ? "good" : BAD.has(decision.decision) ? "bad" : "warn";
  const bar = { name: decision.stack, inner: true, from: at, to: at, tint, note };
  if (decision.decision === "retry.scheduled") return { ...bar, to: at + decision.detail, tint: "idle", note: "waits before the retry" };
  if (decision.decision === "limit.waited") return { ...bar, from: Math.max(began, at - decision.detail), tint: "idle", note: "waited for the rate limit" };
  if (decision.decision === "bulkhead.waited") return { ...bar, from: Math.max(began, at - decision.detail), tint: "idle", note: "waited for a place" };
  if (decision.layer === "call") return { ...bar, from: Math.max(began, at - decision.detail) };
  return bar;
}

function barsOf(job: Job, attempts: Attempt[], events: JobEvent[], now: number): Bar[] {
  // The server's clock and this machine's may differ: what goes on ends no earlier than the newest thing known.
  const newest = Math.max(Date.parse(job.created_at), ...events.slice(-1).map((event) => Date.parse(event.time)));
  const until = job.finished_at ? Date.parse(job.finished_at) : Math.max(now, newest);
  const calls = events.filter((event) => event.type === "job.layer");
  const steps = events.filter((event) => event.type === "job.step");
  const bars: Bar[] = [];
  let from = Date.parse(job.created_at);
  for (const [index, attempt] of attempts.entries()) {
    const start = Date.parse(attempt.started_at);
    if (start > from) bars.push({ name: "waits", from, to: start, tint: "idle", note: index === 0 ? "for its turn" : waitOf(attempts[index - 1]?.outcome) });
    const end = attempt.ended_at ? Date.parse(attempt.ended_at) : until;
    const error = attempt.error as { code?: string; message?: string } | null | undefined;
    bars.push({
      name: `attempt ${attempt.attempt}`, from: start, to: end, tint: OUTCOMES[attempt.outcome] ?? "idle",
      note: [attempt.outcome.replaceAll("_", " "), error ? `${error.code}: ${error.message}` : "", attempt.ambiguous ? "nobody knows whether its last call took effect" : ""].filter(Boolean).join(" · "),
    });
    const next = attempts[index + 1];
    const before = next ? Date.parse(next.started_at) : Number.POSITIVE_INFINITY;
    const isOf = (event: JobEvent) => Date.parse(event.time) >= start && Date.parse(event.time) < before;
    for (const event of calls.filter(isOf)) bars.push(...callBars(event, start));
    for (const event of steps.filter(isOf)) {
      const at = Date.parse(event.time);
      bars.push({ name: String((event.data as { step?: string }).step), inner: true, from: at, to: at, tint: "good", note: "step is stored" });
    }
    from = end;
  }
  if (!job.finished_at && (job.status === "queued" || job.status_reason?.startsWith("waiting"))) {
    bars.push({ name: "waits", from, to: Math.max(from, until), tint: "idle", note: job.waiting_for?.message ?? job.status_reason?.replaceAll("_", " ") ?? "" });
  }
  return bars;
}

function waitOf(outcome: string | undefined): string {
  if (outcome === "parked") return "parked: the provider said when";
  if (outcome === "crashed") return "until its lease was over";
  if (outcome === "failed") return "before the next attempt";
  return "";
}

function callBars(event: JobEvent, start: number): Bar[] {
  const record = event.data as unknown as CallRecord;
  const at = Date.parse(event.time);
  const began = Math.max(start, at - record.took_us / 1_000);
  const call: Bar = {
    name: [record.model, record.target].filter(Boolean).join(" → "), from: began, to: at, tint: record.error ? "bad" : "good",
    note: [
      record.cache === "off" ? "" : `cache ${record.cache}`,
      `${record.attempts} ${record.attempts === 1 ? "call" : "calls"}`,
      record.degraded ? "not by the first target" : "",
      record.first_token_us === null ? "" : `first token after ${duration(record.first_token_us / 1_000)}`,
      record.error ? `${record.error.code}: ${record.error.message}` : "",
    ].filter(Boolean).join(" · "),
  };
  return [call, ...record.layers.map((layer) => decided(layer, began))];
}
