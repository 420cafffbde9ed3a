import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { api, said, send, type Stats } from "../api/client";
import { useStats } from "../live/hooks";
import { Plot } from "../parts/Plot";
import type { Stack } from "./Models";
import { count, dollars, duration, Empty, Failure, Figure, Loading, percent, rate, Status } from "../parts/show";

/** What somebody on call wants to know first. */
export function Overview() {
  const { newest, series } = useStats();
  const breakers = useBreakers();
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
      <Alerts stats={stats} breakers={breakers} />
      <section className="grid figures" aria-label="Figures">
        <Figure name="Throughput" value={`${rate(jobs.ended_per_s)} /s`} note={`${rate(jobs.submitted_per_s)} /s submitted`} />
        <Figure name="Running" value={count(jobs.running)} note={`${count(jobs.queued)} queued`} />
        <Figure name="Latency p50" value={duration(latency.total.p50)} note={`p95 ${duration(latency.total.p95)} · p99 ${duration(latency.total.p99)}`} />
        <Figure name="Failed" value={count(jobs.failed)} note={`${count(jobs.cancelled)} cancelled`} />
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
                  <th>State</th>
                </tr>
              </thead>
              <tbody>
                {stats.queues.slice(0, 12).map((queue) => (
                  <tr key={queue.name}>
                    <td>{queue.name}</td>
                    <td className="number">{count(queue.queued)}</td>
                    <td className="number">{count(queue.running)}</td>
                    <td>{queue.paused ? <span className="badge warn">paused</span> : <span className="badge good">open</span>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
        <div className="card">
          <h2>Breakers</h2>
          {breakers.length === 0 ? (
            <Empty>No model has a target yet.</Empty>
          ) : (
            <table>
              <thead>
                <tr>
                  <th>Model</th>
                  <th>Target</th>
                  <th>State</th>
                </tr>
              </thead>
              <tbody>
                {breakers.map((breaker) => (
                  <tr key={`${breaker.model}/${breaker.target}`}>
                    <td>{breaker.model}</td>
                    <td>{breaker.target}</td>
                    <td>
                      <Status status={breaker.state} />
                    </td>
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

/** The conditions that page somebody, each as it stands, worst first. */
function Alerts({ stats, breakers }: { stats: Stats; breakers: Breaker[] }) {
  const { jobs, latency_ms: latency } = stats;
  // A rate over a handful of jobs says nothing.
  const enough = jobs.succeeded + jobs.failed >= 20;
  const open = breakers.filter((breaker) => breaker.state !== "closed");
  const paused = stats.queues.filter((queue) => queue.paused);
  const conditions = [
    { name: "Errors", bound: "at most 1 %", now: percent(jobs.error_rate), on: enough && (jobs.error_rate ?? 0) > 0.01, href: "/ui/jobs?status=failed" },
    { name: "P95", bound: "at most 5 s", now: duration(latency.total.p95), on: enough && latency.total.p95 > 5_000, href: "/ui/jobs" },
    { name: "Fallbacks", bound: "at most 10 %", now: percent(jobs.fallback_rate), on: enough && (jobs.fallback_rate ?? 0) > 0.1, href: "/ui/models" },
    // Without a cache there are no hits, and nothing is wrong.
    { name: "Cache hits", bound: "at least 50 %", now: percent(jobs.hit_rate), on: enough && (jobs.hit_rate ?? 0) > 0 && (jobs.hit_rate ?? 1) < 0.5, href: "/ui/models" },
    { name: "Breakers", bound: "all closed", now: open.length === 0 ? "closed" : `${open.length} open`, on: open.length > 0, href: "/ui/models" },
    { name: "Queues", bound: "none paused", now: paused.length === 0 ? "running" : `${paused.length} paused`, on: paused.length > 0, href: "/ui/queues" },
  ];
  const wrong = conditions.filter((condition) => condition.on);
  return (
    <section className="card" aria-label="Alerts">
      <h2 className={wrong.length > 0 ? "badge bad" : "badge good"} role="status">
        {wrong.length === 0 ? "Nothing needs attention" : `Needs attention: ${wrong.map((condition) => condition.name.toLowerCase()).join(", ")}`}
      </h2>
      <div className="alerts">
        {conditions.map((condition) => (
          <Link key={condition.name} href={condition.href} className={condition.on ? "alert bad" : "alert"}>
            <span className="name">{condition.name}</span> <strong>{condition.now}</strong> <span className="faint">{condition.bound}</span>
          </Link>
        ))}
      </div>
    </section>
  );
}

interface Breaker {
  model: string;
  target: string;
  state: string;
}

/** Where every breaker of every model stands. */
function useBreakers(): Breaker[] {
  const found = useQuery({
    queryKey: ["breakers"],
    refetchInterval: 3_000,
    queryFn: async () => {
      const models = (await (await send("/v1/models")).json()) as { data: { id: string }[] };
      const stacks = await Promise.all(
        models.data.map(async (model) => (await (await send(`/v1/models/${encodeURIComponent(model.id)}/stack`)).json()) as Stack),
      );
      return stacks.flatMap((stack) => stack.targets.map((target) => ({ model: stack.model, target: target.name, state: target.breaker })));
    },
  });
  return found.data ?? [];
}
