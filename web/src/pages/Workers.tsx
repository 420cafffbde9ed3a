import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { api, said, type Attempt, type Job } from "../api/client";
import { ago, Empty, Failure, Loading, Status } from "../parts/show";

const LOOKED_AT = 60;

/** Who holds what: the newest running jobs by their worker. */
export function Workers() {
  const running = useQuery({
    queryKey: ["running"],
    refetchInterval: 3_000,
    queryFn: async () => {
      const page = said(await api.GET("/v1/jobs", { params: { query: { status: "running", limit: LOOKED_AT } } }));
      const jobs = page.data as unknown as Job[];
      const held = await Promise.all(
        jobs.map(async (job) => {
          const path = { params: { path: { job_id: job.job_id } } };
          const attempts = said(await api.GET("/v1/jobs/{job_id}/attempts", path)).data as unknown as Attempt[];
          return { job, attempt: attempts.at(-1) };
        }),
      );
      return { held, more: page.has_more };
    },
  });
  const workers = useMemo(() => {
    const by = new Map<string, { job: Job; attempt?: Attempt }[]>();
    for (const held of running.data?.held ?? []) {
      const worker = held.attempt && !held.attempt.ended_at ? held.attempt.worker : "(nobody: waiting)";
      by.set(worker, [...(by.get(worker) ?? []), held]);
    }
    return [...by].sort(([a], [b]) => a.localeCompare(b));
  }, [running.data]);
  if (running.error) return <Failure error={running.error} again={() => void running.refetch()} />;
  if (!running.data) return <Loading what="workers" />;
  return (
    <>
      <div className="head">
        <h1>Workers</h1>
        {running.data.more && <span className="faint">the newest {LOOKED_AT} running jobs</span>}
      </div>
      {workers.length === 0 && <Empty>Nothing runs.</Empty>}
      {workers.map(([worker, held]) => (
        <section className="card" key={worker}>
          <h2>{worker}</h2>
          <div className="scroll">
          <table>
            <thead>
              <tr>
                <th>Job</th>
                <th>Kind</th>
                <th>State</th>
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
                  <td>
                    <Status status={job.status} reason={job.status_reason} />
                  </td>
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
