import { useQuery } from "@tanstack/react-query";
import { useMemo, useRef } from "react";
import { Link } from "wouter";
import { api, said, type Attempt, type Job } from "../api/client";
import { ago, count, Empty, Failure, Loading, Status } from "../parts/show";

/** Of how many jobs it is shown who holds them. */
const SHOWN = 200;

/** How many running jobs are looked through for those that somebody holds: many may wait for their parts or a person. */
const PAGE = 200;
const PAGES_MOST = 5;

/** How long it is believed who holds a job that has changed since. One that is given back goes on under its number. */
const BELIEVED_MS = 10_000;

/** How many requests are under way at once. */
const AT_ONCE = 8;

interface Held {
  job: Job;
  attempt: Attempt | undefined;
}

interface Known {
  attempt: Attempt | undefined;
  version: number;
  at: number;
}

interface Looked {
  /** Those that are shown, the longest first. */
  list: Held[];
  /** How many of the jobs that were looked at somebody holds, and how many wait. */
  held: number;
  waiting: number;
  pages: number;
  /** Whether all running jobs were looked at. */
  isAll: boolean;
}

/** Who holds what: the running jobs by their worker. */
export default function Workers() {
  // Asking for every job every time would be a hundred requests: what has not changed is still so.
  const known = useRef(new Map<string, Known>());
  const running = useQuery<Looked>({
    queryKey: ["running"],
    // Many pages are not read all the time.
    refetchInterval: (query) => ((query.state.data?.pages ?? 1) > 1 ? 10_000 : 3_000),
    queryFn: async ({ signal }) => {
      const { jobs, pages, isAll } = await runningJobs(signal);
      const waiting = jobs.filter(isWaiting).length;
      // Those that have run longest are the ones to look at.
      const held = jobs.filter((job) => !isWaiting(job)).sort((a, b) => (a.started_at ?? "").localeCompare(b.started_at ?? ""));
      const shown = held.slice(0, SHOWN);
      const next = new Map<string, Known>();
      const now = Date.now();
      const ask = shown.filter((job) => {
        const before = known.current.get(job.job_id);
        const isGood = before && (before.version === job.version || now - before.at < BELIEVED_MS);
        if (isGood) next.set(job.job_id, before);
        return !isGood;
      });
      const askers = Array.from({ length: Math.min(AT_ONCE, ask.length) }, async () => {
        for (let job = ask.pop(); job; job = ask.pop()) {
          const path = { params: { path: { job_id: job.job_id } }, signal };
          const attempt = (said(await api.GET("/v1/jobs/{job_id}/attempts", path)).data as unknown as Attempt[]).at(-1);
          next.set(job.job_id, { attempt, version: job.version, at: now });
        }
      });
      await Promise.all(askers);
      known.current = next;
      const list = shown.map((job): Held => ({ job, attempt: next.get(job.job_id)?.attempt }));
      return { list, held: held.length, waiting, isAll, pages };
    },
  });
  const workers = useMemo(() => {
    const by = new Map<string, Held[]>();
    for (const held of running.data?.list ?? []) {
      const worker = held.attempt?.worker ?? NOT_KNOWN;
      by.set(worker, [...(by.get(worker) ?? []), held]);
    }
    return [...by].sort(([a], [b]) => Number(a === NOT_KNOWN) - Number(b === NOT_KNOWN) || a.localeCompare(b));
  }, [running.data]);
  if (running.error && !running.data) return <Failure error={running.error} again={() => void running.refetch()} />;
  if (!running.data) return <Loading what="workers" />;
  return (
    <>
      <div className="head">
        <h1>Workers</h1>
        <span className="faint">{wordsOf(running.data)}</span>
      </div>
      {running.error && <Failure error={running.error} again={() => void running.refetch()} />}
      {workers.length === 0 && (
        <Empty>
          {running.data.isAll && running.data.waiting === 0 ? "Nothing runs." : "No worker holds any of them."} The server runs the built-in kinds itself; workers of your own claim jobs over HTTP and appear here while they hold one.
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

/** One that ended, or changed hands, between two questions. */
const NOT_KNOWN = "not known yet";

/** Waits for its parts or for a person: nobody holds it. */
function isWaiting(job: Job): boolean {
  return job.status_reason?.startsWith("waiting_") ?? false;
}

/** The running jobs, newest first, as far as it is looked. */
async function runningJobs(signal: AbortSignal): Promise<{ jobs: Job[]; pages: number; isAll: boolean }> {
  const jobs: Job[] = [];
  let cursor: string | undefined;
  for (let pages = 1; pages <= PAGES_MOST; pages += 1) {
    const query = { status: "running" as const, limit: PAGE, ...(cursor ? { cursor } : {}) };
    const page = said(await api.GET("/v1/jobs", { params: { query }, signal }));
    jobs.push(...(page.data as unknown as Job[]));
    cursor = page.next_cursor ?? undefined;
    if (!page.has_more || !cursor) return { jobs, pages, isAll: true };
  }
  return { jobs, pages: PAGES_MOST, isAll: false };
}

function wordsOf({ list, held, waiting, isAll }: Looked): string {
  const shown = list.length < held ? `the ${count(list.length)} of ${count(held)} held jobs that have run longest` : `${count(held)} held`;
  const others = waiting > 0 ? `, ${count(waiting)} wait for others and hold no worker` : "";
  return `${shown}${others}${isAll ? "" : "; there are more, older ones"}`;
}
