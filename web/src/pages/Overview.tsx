import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import { Link } from "wouter";
import { api, said, type Stats } from "../api/client";
import { useStats } from "../live/hooks";
import { Alerts } from "../parts/Alerts";
import { Judged } from "../parts/Old";
import { operates, useMay } from "../parts/session";
import { count, dollars, duration, Failure, Figure, Loading, percent, rate, Status } from "../parts/show";

const Plot = lazy(() => import("../parts/Plot"));

/** What somebody on call wants to know first, and what somebody who is new here sees of how it works. */
export default function Overview() {
  const { newest, series, at, failure } = useStats();
  const first = useQuery({
    queryKey: ["stats"],
    queryFn: async () => said(await api.GET("/v1/stats", {})),
    enabled: !newest,
  });
  const stats = newest ?? first.data;
  const lines = useMemo(
    () => ({
      rates: [
        { name: "submitted/s", color: "--accent" as const, values: series.submitted },
        { name: "ended/s", color: "--good" as const, values: series.ended },
        { name: "model calls/s", color: "--warn" as const, values: series.calls },
      ],
      latency: [
        { name: "p50", color: "--good" as const, values: series.p50 },
        { name: "p95", color: "--warn" as const, values: series.p95 },
        { name: "p99", color: "--bad" as const, values: series.p99 },
      ],
      depth: [
        { name: "queued", color: "--idle" as const, values: series.queued },
        { name: "running", color: "--accent" as const, values: series.running },
      ],
    }),
    [series],
  );
  if (!stats) return first.error ? <Failure error={first.error} again={() => void first.refetch()} /> : <Loading what="figures" />;
  const { latency_ms: latency, models } = stats;
  const sum = (pick: (model: Stats["models"][number]) => number) => models.reduce((total, model) => total + pick(model), 0);
  const isNew = stats.queues.every((queue) => queue.queued + queue.running === 0) && stats.jobs.submitted === 0 && sum((model) => model.calls) === 0;
  return (
    <>
      <div className="head">
        <h1>Overview</h1>
        <span className="faint">rates of the last {duration(stats.window_s * 1_000)}</span>
      </div>
      <Judged at={newest ? at : first.dataUpdatedAt} failure={failure}>
        <Alerts alerts={stats.alerts} queues={stats.queues} />
      </Judged>
      {isNew && <Begin />}
      <Way stats={stats} />
      <section className="grid figures" aria-label="Figures">
        <Figure name="Latency p50" value={duration(latency.total.p50)} note={`p95 ${duration(latency.total.p95)} · p99 ${duration(latency.total.p99)}`} />
        <Figure name="Wait for a turn p95" value={duration(latency.queued.p95)} note={`p99 ${duration(latency.queued.p99)}`} />
        <Figure name="Model calls" value={`${rate(sum((model) => model.calls_per_s))} /s`} note={`${count(sum((model) => model.in_flight))} under way`} />
        <Figure name="Tokens" value={count(sum((model) => model.input_tokens + model.output_tokens))} note={`${count(sum((model) => model.input_tokens))} in · ${count(sum((model) => model.output_tokens))} out`} />
        <Figure name="Cost" value={dollars(sum((model) => model.cost_microusd))} note={`${dollars((sum((model) => model.cost_microusd) * 3_600) / Math.max(1, stats.window_s))} an hour at this rate`} />
      </section>
      <section className="wide">
        <div className="card">
          <h2>Throughput</h2>
          <Drawn label="Jobs submitted, jobs ended and model calls a second" at={series.at} lines={lines.rates} unit="number" />
        </div>
        <div className="card">
          <h2>Latency, submit to end</h2>
          <Drawn label="Latency percentiles" at={series.at} lines={lines.latency} unit="duration" />
        </div>
        <div className="card">
          <h2>Depth</h2>
          <Drawn label="Jobs queued and running" at={series.at} lines={lines.depth} unit="number" />
        </div>
        <Queues stats={stats} />
      </section>
      <Models stats={stats} />
    </>
  );
}

function Drawn(given: { label: string; at: number[]; lines: Parameters<typeof Plot>[0]["lines"]; unit: "number" | "duration" }) {
  return (
    <Suspense fallback={<div className="plot" />}>
      <Plot label={given.label} times={given.at} lines={given.lines} unit={given.unit} />
    </Suspense>
  );
}

/** The way of all jobs: where they are at this moment, and what became of those of the last minute. */
function Way({ stats }: { stats: Stats }) {
  const { jobs, queues } = stats;
  const ages = queues.flatMap((queue) => queue.oldest_age_ms ?? []);
  const waiting = queues.reduce((total, queue) => total + queue.waiting, 0);
  const ended = jobs.succeeded + jobs.failed + jobs.cancelled;
  return (
    <section aria-label="The way of jobs">
      <ol className="way">
        <li>
          <Link href="/ui/jobs" className="card figure">
            <span className="name">Submitted</span>
            <strong className="value">{rate(jobs.submitted_per_s)} /s</strong>
            <span className="note">{count(jobs.submitted)} in the window</span>
          </Link>
        </li>
        <li>
          <Link href="/ui/jobs?status=queued" className="card figure">
            <span className="name">Queued</span>
            <strong className="value">{count(jobs.queued)}</strong>
            <span className="note">{ages.length > 0 ? `the oldest for ${duration(Math.max(...ages))}` : "none waits for a worker"}</span>
          </Link>
        </li>
        <li>
          <Link href="/ui/jobs?status=running" className="card figure">
            <span className="name">Running</span>
            <strong className="value">{count(jobs.running)}</strong>
            <span className="note">{waiting > 0 ? `and ${count(waiting)} wait for others` : "in flight"}</span>
          </Link>
        </li>
        <li>
          <Link href="/ui/jobs?status=succeeded" className="card figure">
            <span className="name">Succeeded</span>
            <strong className="value good">{count(jobs.succeeded)}</strong>
            <span className="note">{ended > 0 ? `${percent(jobs.succeeded / ended)} of what ended, ${rate(jobs.ended_per_s)} /s` : "nothing has ended"}</span>
          </Link>
        </li>
        <li>
          <Link href="/ui/jobs?status=failed" className="card figure">
            <span className="name">Failed</span>
            <strong className={jobs.failed > 0 ? "value bad" : "value"}>{count(jobs.failed)}</strong>
            <span className="note">{count(jobs.cancelled)} cancelled</span>
          </Link>
        </li>
      </ol>
    </section>
  );
}

/** For whoever opens it for the first time. */
function Begin() {
  return (
    <section className="card" aria-label="How to begin">
      <h2>Nothing has come in the last minute</h2>
      <p>
        Longhaul takes AI work in, writes it to disk before it answers, runs it behind caches, retries, fallbacks and breakers, and lets you watch, fetch or
        cancel it. Jobs go from left to right below.
      </p>
      <p className="row">
        <Link href="/ui/playground" className="button primary">
          Send a job or ask a model
        </Link>
        <Link href="/ui/documents" className="button">
          Read a document
        </Link>
        <a href="/docs" className="button">
          API reference
        </a>
      </p>
    </section>
  );
}

function Queues({ stats }: { stats: Stats }) {
  return (
    <div className="card">
      <h2>
        <Link href="/ui/queues">Queues</Link>
      </h2>
      {stats.queues.length === 0 ? (
        <p className="faint">A queue appears with its first job.</p>
      ) : (
        <div className="scroll" tabIndex={0} role="group" aria-label="Queues">
          <table>
            <thead>
              <tr>
                <th>Queue</th>
                <th className="number">Queued</th>
                <th className="number">Oldest</th>
                <th className="number">Running</th>
                <th>State</th>
              </tr>
            </thead>
            <tbody>
              {stats.queues.slice(0, 12).map((queue) => (
                <tr key={queue.name}>
                  <td>{queue.name}</td>
                  <td className="number">{count(queue.queued)}</td>
                  <td className="number">{duration(queue.oldest_age_ms)}</td>
                  <td className="number">{count(queue.running)}</td>
                  <td>{queue.paused ? <span className="badge warn">paused</span> : <span className="badge good">open</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {stats.queues.length + stats.queues_left_out > 12 && <p className="faint">and {count(stats.queues.length + stats.queues_left_out - 12)} more</p>}
    </div>
  );
}

function Models({ stats }: { stats: Stats }) {
  const seesModels = useMay(operates);
  return (
    <div className="card">
      <h2>
        {seesModels ? <Link href="/ui/models">Models</Link> : "Models"}
      </h2>
      {stats.models.length === 0 ? (
        <p className="faint">No model is configured. Three lines of longhaul.toml make one.</p>
      ) : (
        <div className="scroll" tabIndex={0} role="group" aria-label="Models">
          <table>
            <thead>
              <tr>
                <th>Model</th>
                <th className="number">Calls</th>
                <th className="number">Errors</th>
                <th className="number">Fallbacks</th>
                <th className="number">Cache hits</th>
                <th className="number">p50</th>
                <th className="number">p95</th>
                <th className="number">Cost</th>
                <th>Breakers</th>
              </tr>
            </thead>
            <tbody>
              {stats.models.map((model) => (
                <tr key={model.model}>
                  <td>{model.model}</td>
                  <td className="number">{rate(model.calls_per_s)} /s</td>
                  <td className="number">{percent(model.error_rate)}</td>
                  <td className="number">{percent(model.fallback_rate)}</td>
                  <td className="number">{percent(model.hit_rate)}</td>
                  <td className="number">{model.calls > 0 ? duration(model.latency_ms.p50) : "–"}</td>
                  <td className="number">{model.calls > 0 ? duration(model.latency_ms.p95) : "–"}</td>
                  <td className="number">{dollars(model.cost_microusd)}</td>
                  <td>
                    <Breakers breakers={model.breakers} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {stats.models_left_out > 0 && <p className="faint">and {count(stats.models_left_out)} more</p>}
    </div>
  );
}

/** One word when all is well, else each that is not closed. */
function Breakers({ breakers }: { breakers: Stats["models"][number]["breakers"] }) {
  const away = breakers.filter((breaker) => breaker.state !== "closed");
  if (breakers.length === 0) return <span className="faint">none</span>;
  if (away.length === 0) return <Status status="closed" />;
  return away.map((breaker) => (
    <div key={breaker.target}>
      <Status status={breaker.state} /> <span className="faint">{breaker.target}{breaker.for_ms != null && `, for ${duration(breaker.for_ms)}`}</span>
    </div>
  ));
}
