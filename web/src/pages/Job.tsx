import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { api, said, type Attempt, type Job, type JobEvent } from "../api/client";
import { useJobEvents } from "../live/hooks";
import { between, count, dollars, duration, Empty, Failure, Loading, pretty, Status } from "../parts/show";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/** One job: where it stands, what every attempt and layer did, and what can be done about it. */
export function JobPage({ id }: { id: string }) {
  const client = useQueryClient();
  const [, go] = useLocation();
  const followed = useJobEvents(id);
  const path = { params: { path: { job_id: id } } };
  const job = useQuery({ queryKey: ["job", id], queryFn: async () => said(await api.GET("/v1/jobs/{job_id}", path)) as unknown as Job });
  const attempts = useQuery({
    queryKey: ["attempts", id],
    queryFn: async () => said(await api.GET("/v1/jobs/{job_id}/attempts", path)).data as unknown as Attempt[],
  });
  // Every event that changes where the job stands is a reason to look again.
  const moves = followed.events.filter((event) => !["job.layer", "job.log", "job.step"].includes(event.type)).length;
  useEffect(() => {
    if (moves > 0) {
      void client.invalidateQueries({ queryKey: ["job", id] });
      void client.invalidateQueries({ queryKey: ["attempts", id] });
    }
  }, [client, id, moves]);
  const cancel = useMutation({ mutationFn: async () => said(await api.POST("/v1/jobs/{job_id}/cancel", path)) });
  const retry = useMutation({
    mutationFn: async () => said(await api.POST("/v1/jobs/{job_id}/retry", path)) as unknown as { job_id: string },
    onSuccess: (receipt) => go(`/ui/jobs/${receipt.job_id}`),
  });
  if (job.error) return <Failure error={job.error} again={() => void job.refetch()} />;
  if (!job.data) return <Loading what="the job" />;
  const view = job.data;
  const over = ENDED.has(view.status);
  return (
    <>
      <div className="head">
        <div>
          <h1>
            {view.kind} <Status status={view.status} reason={view.status_reason} />
          </h1>
          <p className="mono faint">{view.job_id}</p>
        </div>
        <div className="row">
          <Copy text={asCurl(view)}>Copy as curl</Copy>
          <button disabled={!over || retry.isPending} onClick={() => retry.mutate()}>
            Retry
          </button>
          <button className="danger" disabled={over || cancel.isPending} onClick={() => cancel.mutate()}>
            {view.status_reason === "cancelling" ? "Cancelling …" : "Cancel"}
          </button>
        </div>
      </div>
      {(cancel.error ?? retry.error) && <Failure error={cancel.error ?? retry.error} />}
      {view.error && (
        <div className="banner bad">
          <strong>{view.error.code}</strong> {view.error.message}
        </div>
      )}
      <section className="wide">
        <div className="card">
          <h2>Where it stands</h2>
          <dl className="facts">
            <Fact name="queue">{view.queue}</Fact>
            <Fact name="attempt">
              {view.attempt} of {view.max_attempts}
            </Fact>
            {view.queue_position !== null && view.queue_position !== undefined && (
              <Fact name="before it">{count(view.queue_position)} jobs</Fact>
            )}
            {view.progress.message && (
              <Fact name="progress">
                {view.progress.fraction !== null && view.progress.fraction !== undefined && (
                  <progress value={view.progress.fraction} max={1} aria-label="Progress" />
                )}{" "}
                {view.progress.message}
              </Fact>
            )}
            <Fact name="made">{new Date(view.created_at).toLocaleString("en-GB")}</Fact>
            {view.started_at && <Fact name="waited">{duration(between(view.created_at, view.started_at))}</Fact>}
            {view.started_at && <Fact name="ran">{duration(between(view.started_at, view.finished_at))}</Fact>}
            {view.model && <Fact name="model">{view.model}</Fact>}
            {view.usage && view.usage.input_tokens + view.usage.output_tokens > 0 && (
              <Fact name="tokens">
                {count(view.usage.input_tokens)} in, {count(view.usage.output_tokens)} out, {dollars(view.usage.cost_microusd)}
              </Fact>
            )}
            {view.degraded && <Fact name="degraded">not by the first target</Fact>}
            {view.cached && <Fact name="cached">from the cache</Fact>}
            {view.retry_of && (
              <Fact name="retry of">
                <Link href={`/ui/jobs/${view.retry_of}`}>{view.retry_of}</Link>
              </Fact>
            )}
            {Object.entries((view.metadata ?? {}) as Record<string, string>).map(([key, value]) => (
              <Fact key={key} name={key}>
                {value}
              </Fact>
            ))}
          </dl>
        </div>
        <div className="card">
          <h2>Output</h2>
          {followed.text || followed.items.length > 0 ? (
            <div className="stream" aria-live="polite">
              {followed.text}
              {followed.items.map((item, index) => (
                <pre key={index}>{pretty(item)}</pre>
              ))}
            </div>
          ) : view.output !== null && view.output !== undefined ? (
            <pre>{pretty(view.output)}</pre>
          ) : (
            <Empty>{over ? "It gave none." : "Nothing yet."}</Empty>
          )}
        </div>
      </section>
      <section className="card">
        <h2>Its life</h2>
        <Waterfall job={view} attempts={attempts.data ?? []} events={followed.events} />
      </section>
      <section className="wide">
        <div className="card">
          <h2>Events</h2>
          <div className="events" tabIndex={0} role="log" aria-label="Events">
            {followed.events.map((event) => (
              <div className="one" key={event.seq}>
                <span className="faint">{event.seq}</span>
                <span className="faint late">{event.time.slice(11, 23)}</span>
                <span>{event.type.replace("job.", "")}</span>
                <code>{told(event)}</code>
              </div>
            ))}
            {followed.failure && <p className="bad">{followed.failure}</p>}
          </div>
        </div>
        <div className="card">
          <h2>Input</h2>
          <pre>{pretty(view.input)}</pre>
        </div>
      </section>
    </>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

function Copy({ text, children }: { text: string; children: string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      onClick={() => {
        void navigator.clipboard.writeText(text).then(() => setDone(true));
      }}
    >
      {done ? "Copied" : children}
    </button>
  );
}

function asCurl(job: Job): string {
  const body = JSON.stringify({ kind: job.kind, queue: job.queue, input: job.input });
  return `curl -s ${location.origin}/v1/jobs -H 'content-type: application/json' -d '${body.replaceAll("'", `'\\''`)}'`;
}

function told(event: JobEvent): string {
  if (event.type === "job.layer") {
    // Drawn in full above.
    const { model, target, attempts, took_us } = event.data as unknown as CallRecord;
    return `${model} → ${target ?? "nothing"}, ${attempts} ${attempts === 1 ? "call" : "calls"}, ${duration(took_us / 1_000)}`;
  }
  const text = JSON.stringify(event.data);
  return text === "{}" ? "" : text;
}

interface Bar {
  name: string;
  from: number;
  to: number;
  tint: string;
  note: string;
  inner?: boolean;
}

/** Attempts, waits and what layers decided, on one line of time. */
function Waterfall({ job, attempts, events }: { job: Job; attempts: Attempt[]; events: JobEvent[] }) {
  const bars = useMemo(() => barsOf(job, attempts, events), [job, attempts, events]);
  const begin = Date.parse(job.created_at);
  const end = Math.max(begin + 1, ...bars.map((bar) => bar.to));
  if (bars.length === 0) return <Empty>It has not begun.</Empty>;
  return (
    <div className="fall">
      {bars.map((bar, index) => (
        <div className={bar.inner ? "bar inner" : "bar"} key={index}>
          <span className="what">
            {bar.name} {bar.note && <span className="faint">{bar.note}</span>}
          </span>
          <span className={`track ${bar.tint}`} title={bar.note}>
            <span
              style={{
                left: `${((bar.from - begin) / (end - begin)) * 100}%`,
                width: `${Math.max(0, ((bar.to - bar.from) / (end - begin)) * 100)}%`,
              }}
            />
          </span>
          <span className="faint number">{bar.to > bar.from ? duration(bar.to - bar.from) : ""}</span>
        </div>
      ))}
    </div>
  );
}

const OUTCOMES: Record<string, string> = {
  succeeded: "good", failed: "bad", crashed: "bad", running: "busy", cancelled: "warn", deadline_exceeded: "bad",
};

/** What one call of a model went through: the data of a `job.layer` event. */
interface CallRecord {
  model: string;
  target: string | null;
  cache: string;
  attempts: number;
  degraded: boolean;
  error: unknown;
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

/** A layer's decision: a call reaches back over the time it took, a wait forward, everything else is a moment. */
function decided(decision: Decision, began: number): Bar {
  const at = began + decision.at_us / 1_000;
  const bar = { name: decision.stack, inner: true, from: at, to: at, tint: "warn", note: decision.decision.replaceAll(/[._]/g, " ") };
  if (decision.decision === "retry.scheduled") return { ...bar, to: at + decision.detail, tint: "idle", note: "waits before the retry" };
  if (decision.layer === "call") return { ...bar, from: Math.max(began, at - decision.detail), tint: decision.decision === "call.ok" ? "good" : "bad" };
  return bar;
}

function barsOf(job: Job, attempts: Attempt[], events: JobEvent[]): Bar[] {
  const now = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  const bars: Bar[] = [];
  let from = Date.parse(job.created_at);
  for (const attempt of attempts) {
    const start = Date.parse(attempt.started_at);
    if (start > from) bars.push({ name: "waits", from, to: start, tint: "idle", note: "" });
    const end = attempt.ended_at ? Date.parse(attempt.ended_at) : now;
    const error = attempt.error as { code?: string; message?: string } | null | undefined;
    bars.push({
      name: `attempt ${attempt.attempt}`, from: start, to: end, tint: OUTCOMES[attempt.outcome] ?? "idle",
      note: [attempt.outcome, error ? `${error.code}: ${error.message}` : "", attempt.ambiguous ? "ambiguous" : ""].filter(Boolean).join(" · "),
    });
    for (const event of events) {
      const at = Date.parse(event.time);
      if (event.type !== "job.layer" || at < start || at > end + 1_000) continue;
      const record = event.data as unknown as CallRecord;
      const began = Math.max(start, at - record.took_us / 1_000);
      bars.push({
        name: [record.model, record.target].filter(Boolean).join(" → "), from: began, to: at, tint: record.error ? "bad" : "good",
        note: [
          record.cache === "off" ? "" : `cache ${record.cache}`,
          `${record.attempts} ${record.attempts === 1 ? "call" : "calls"}`,
          record.degraded ? "not by the first target" : "",
          record.first_token_us === null ? "" : `first token after ${duration(record.first_token_us / 1_000)}`,
        ].filter(Boolean).join(" · "),
      });
      for (const layer of record.layers) bars.push(decided(layer, began));
    }
    from = end;
  }
  if (!job.finished_at && job.status === "queued") bars.push({ name: "waits", from, to: Date.now(), tint: "idle", note: job.status_reason ?? "" });
  return bars;
}
