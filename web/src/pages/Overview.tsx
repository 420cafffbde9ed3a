import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { api, said, type Stats } from "../api/client";
import { useStats } from "../live/hooks";
import { Plot } from "../parts/Plot";
import { count, dollars, duration, Empty, Failure, Figure, Loading, percent, rate } from "../parts/show";

/** What somebody on call wants to know first. */
export function Overview() {
  const { newest, series } = useStats();
  const first = useQuery({
    queryKey: ["stats"],
    queryFn: async () => said(await api.GET("/v1/stats", {})),
    enabled: !newest,
  });
  const stats = newest ?? first.data;
  const times = useMemo(() => series.map((point) => point.at), [series]);
  const lines = useMemo(() => {
    const of = (pick: (stats: Stats) => number) => series.map((point) => pick(point.stats));
    return {
      rates: [
        { name: "submitted/s", color: "--accent" as const, values: of((stats) => stats.jobs.submitted_per_s) },
        { name: "ended/s", color: "--good" as const, values: of((stats) => stats.jobs.ended_per_s) },
      ],
      latency: [
        { name: "p50 ms", color: "--good" as const, values: of((stats) => stats.latency_ms.total.p50) },
        { name: "p95 ms", color: "--warn" as const, values: of((stats) => stats.latency_ms.total.p95) },
        { name: "p99 ms", color: "--bad" as const, values: of((stats) => stats.latency_ms.total.p99) },
      ],
      depth: [
        { name: "queued", color: "--idle" as const, values: of((stats) => stats.jobs.queued) },
        { name: "running", color: "--accent" as const, values: of((stats) => stats.jobs.running) },
      ],
    };
  }, [series]);
  if (!stats) return first.error ? <Failure error={first.error} again={() => void first.refetch()} /> : <Loading what="figures" />;
  const { jobs, latency_ms: latency } = stats;
  return (
    <>
      <div className="head">
        <h1>Overview</h1>
        <span className="faint">the last {Math.round(stats.window_s)} s</span>
      </div>
      <Alerts stats={stats} />
      <section className="grid" aria-label="Figures">
        <Figure name="Throughput" value={`${rate(jobs.ended_per_s)} /s`} note={`${rate(jobs.submitted_per_s)} /s submitted`} />
        <Figure name="Running" value={count(jobs.running)} note={`${count(jobs.queued)} queued`} />
        <Figure name="Latency p50" value={duration(latency.total.p50)} note={`p95 ${duration(latency.total.p95)} · p99 ${duration(latency.total.p99)}`} />
        <Figure name="Errors" value={percent(jobs.error_rate)} note={`${count(jobs.failed)} failed`} tint={(jobs.error_rate ?? 0) > 0.01 ? "bad" : ""} />
        <Figure name="Fallbacks" value={percent(jobs.fallback_rate)} note="answers not by the first target" />
        <Figure name="Cache hits" value={percent(jobs.hit_rate)} note="answers without a call" />
        <Figure name="Tokens" value={count(jobs.input_tokens + jobs.output_tokens)} note={`${count(jobs.input_tokens)} in · ${count(jobs.output_tokens)} out`} />
        <Figure name="Cost" value={dollars(jobs.cost_microusd)} note="of what ended" />
      </section>
      <section className="wide">
        <div className="card">
          <h2>Throughput</h2>
          <Plot label="Jobs submitted and ended a second" times={times} lines={lines.rates} unit="" />
        </div>
        <div className="card">
          <h2>Latency, submit to end</h2>
          <Plot label="Latency percentiles in milliseconds" times={times} lines={lines.latency} unit="" />
        </div>
        <div className="card">
          <h2>Depth</h2>
          <Plot label="Jobs queued and running" times={times} lines={lines.depth} unit="" />
        </div>
        <div className="card">
          <h2>Queues</h2>
          {stats.queues.length === 0 ? (
            <Empty>
              No job has come yet. <Link href="/ui/playground">Send one</Link> and watch it.
            </Empty>
          ) : (
            <table>
              <thead>
                <tr>
                  <th>Queue</th>
                  <th className="number">Queued</th>
                  <th className="number">Running</th>
                  <th />
                </tr>
              </thead>
              <tbody>
                {stats.queues.slice(0, 12).map((queue) => (
                  <tr key={queue.name}>
                    <td>{queue.name}</td>
                    <td className="number">{count(queue.queued)}</td>
                    <td className="number">{count(queue.running)}</td>
                    <td>{queue.paused && <span className="badge warn">paused</span>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
      </section>
    </>
  );
}

/** The conditions that page somebody, as they stand. */
function Alerts({ stats }: { stats: Stats }) {
  const { jobs, latency_ms: latency } = stats;
  const calls = jobs.succeeded + jobs.failed;
  const enough = calls >= 20;
  const conditions = [
    { name: "Hit rate below 50 %", on: enough && (jobs.hit_rate ?? 0) > 0 && (jobs.hit_rate ?? 1) < 0.5 },
    { name: "Fallback rate above 10 %", on: enough && (jobs.fallback_rate ?? 0) > 0.1 },
    { name: "P95 above 5 s", on: enough && latency.total.p95 > 5_000 },
    { name: "Error rate above 1 %", on: enough && (jobs.error_rate ?? 0) > 0.01 },
    { name: "A queue is paused", on: stats.queues.some((queue) => queue.paused) },
  ].filter((condition) => condition.on);
  if (conditions.length === 0) {
    return (
      <p className="badge good" role="status">
        Nothing needs attention
      </p>
    );
  }
  return (
    <div className="banner bad" role="status">
      {conditions.map((condition) => (
        <p key={condition.name}>{condition.name}</p>
      ))}
    </div>
  );
}
