import { useQuery } from "@tanstack/react-query";
import { useMemo, useRef } from "react";
import { Link } from "wouter";
import { api, said, type Attempt, type Job } from "../api/client";
import { ago, count, Empty, Failure, Loading, Status } from "../parts/show";

/** Of how many running jobs it is asked who holds them. */
const LOOKED_AT = 100;

/** How many requests are under way at once. */
const AT_ONCE = 8;

interface Held {
  job: Job;
  attempt: Attempt | undefined;
}

/** Who holds what: the newest running jobs by their worker. */
export default function Workers() {
  // Who holds a job under an attempt does not change while it runs: each is asked for once.
  const known = useRef(new Map<string, Attempt | undefined>());
  const running = useQuery({
    queryKey: ["running"],
    refetchInterval: 3_000,
    queryFn: async ({ signal }) => {
      const page = said(await api.GET("/v1/jobs", { params: { query: { status: "running", limit: LOOKED_AT } }, signal }));
      const jobs = page.data as unknown as Job[];
      const before = known.current;
      const next = new Map<string, Attempt | undefined>();
      const ask = jobs.filter((job) => {
        const name = holding(job);
        if (before.has(name)) next.set(name, before.get(name));
        return !before.has(name);
      });
      const askers = Array.from({ length: Math.min(AT_ONCE, ask.length) }, async () => {
        for (let job = ask.pop(); job; job = ask.pop()) {
          const path = { params: { path: { job_id: job.job_id } }, signal };
          next.set(holding(job), (said(await api.GET("/v1/jobs/{job_id}/attempts", path)).data as unknown as Attempt[]).at(-1));
        }
      });
      await Promise.all(askers);
      known.current = next;
      return { held: jobs.map((job): Held => ({ job, attempt: next.get(holding(job)) })), more: page.has_more };
    },
  });
  const workers = useMemo(() => {
    const by = new Map<string, Held[]>();
    for (const held of running.data?.held ?? []) {
      const isWaiting = held.job.status_reason?.startsWith("waiting_") ?? false;
      const worker = isWaiting ? NOBODY : (held.attempt?.worker ?? NOBODY);
      by.set(worker, [...(by.get(worker) ?? []), held]);
    }
    return [...by].sort(([a], [b]) => Number(a === NOBODY) - Number(b === NOBODY) || a.localeCompare(b));
  }, [running.data]);
  if (running.error && !running.data) return <Failure error={running.error} again={() => void running.refetch()} />;
  if (!running.data) return <Loading what="workers" />;
  return (
    <>
      <div className="head">
        <h1>Workers</h1>
        <span className="faint">{running.data.more ? `of the newest ${LOOKED_AT} running jobs` : `${count(running.data.held.length)} running`}</span>
      </div>
      {workers.length === 0 && (
        <Empty>
          Nothing runs. The server runs the built-in kinds itself; workers of your own claim jobs over HTTP and appear here while they hold one.
        </Empty>
      )}
      {workers.map(([worker, held]) => (
        <section className="card" key={worker} aria-label={worker}>
          <div className="head">
            <h2>{worker}</h2>
            <span className="faint">
              {held.length} {held.length === 1 ? "job" : "jobs"}
            </span>
          </div>
          <div className="scroll" tabIndex={0} role="group" aria-label={`Jobs of ${worker}`}>
            <table>
              <thead>
                <tr>
                  <th>Job</th>
                  <th>Kind</th>
                  <th>Queue</th>
                  <th>State</th>
                  <th>Progress</th>
                  <th>Since</th>
                </tr>
              </thead>
              <tbody>
                {held.map(({ job, attempt }) => (
                  <tr key={job.job_id}>
                    <td>
                      <Link className="mono" href={`/ui/jobs/${job.job_id}`}>
                        {job.job_id}
                      </Link>
                    </td>
                    <td>{job.kind}</td>
                    <td>{job.queue}</td>
                    <td>
                      <Status status={job.status} reason={job.status_reason} />
                    </td>
                    <td className="faint">{job.progress.message ?? (job.progress.fraction != null ? `${Math.round(job.progress.fraction * 100)} %` : "–")}</td>
                    <td className="faint">{attempt ? ago(attempt.started_at) : "–"}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      ))}
    </>
  );
}

/** Jobs that wait for their parts or for a person hold no worker. */
const NOBODY = "nobody: they wait for others";

function holding(job: Job): string {
  return `${job.job_id}/${job.attempt}/${job.status_reason?.startsWith("waiting_") ?? false}`;
}
