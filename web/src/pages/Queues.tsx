import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { api, said } from "../api/client";
import { useStats } from "../live/hooks";
import { OldFigures } from "../parts/Old";
import { operates, useMay } from "../parts/session";
import { count, duration, Empty, Failure, Loading, rate } from "../parts/show";

/** How every queue stands, and holding it back. */
export default function Queues() {
  const client = useQueryClient();
  const isOurs = useMay(operates);
  const figures = useStats();
  const { newest } = figures;
  const listed = useQuery({ queryKey: ["queues"], queryFn: async () => said(await api.GET("/v1/queues", {})).data, refetchInterval: 5_000 });
  const hold = useMutation({
    mutationFn: async ({ queue, paused }: { queue: string; paused: boolean }) => {
      const path = { params: { path: { queue } } };
      return paused ? said(await api.POST("/v1/queues/{queue}/pause", path)) : said(await api.POST("/v1/queues/{queue}/resume", path));
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["queues"] }),
  });
  if (listed.error && !listed.data) return <Failure error={listed.error} again={() => void listed.refetch()} />;
  if (!listed.data) return <Loading what="queues" />;
  // The list comes every few seconds, the live figures every second: the newer of the two.
  const isNewer = newest !== undefined && Date.parse(newest.time) > listed.dataUpdatedAt - 1_500;
  const live = new Map(isNewer ? newest.queues.map((queue) => [queue.name, queue]) : []);
  return (
    <>
      <h1>Queues</h1>
      <OldFigures figures={figures} />
      {hold.error && <Failure error={hold.error} />}
      <div className="card">
        {listed.data.length === 0 ? (
          <Empty>
            No queue is configured and no job has come. <Link href="/ui/playground">Send one.</Link>
          </Empty>
        ) : (
          <div className="scroll" tabIndex={0} role="group" aria-label="Queues">
            <table>
              <thead>
                <tr>
                  <th>Queue</th>
                  <th className="number">Queued</th>
                  <th className="number">Oldest</th>
                  <th className="number">Running</th>
                  <th className="number">At most</th>
                  <th className="number">In</th>
                  <th className="number">Out</th>
                  <th>State</th>
                  {isOurs && (
                    <th>
                      <span className="unseen">What to do</span>
                    </th>
                  )}
                </tr>
              </thead>
              <tbody>
                {listed.data.map((stored) => {
                  const queue = { ...stored, ...live.get(stored.name) };
                  return (
                    <tr key={queue.name}>
                      <td>
                        <Link href={`/ui/jobs?queue=${encodeURIComponent(queue.name)}`}>{queue.name}</Link>
                      </td>
                      <td className="number">{count(queue.queued)}</td>
                      <td className="number">{duration(queue.oldest_age_ms)}</td>
                      <td className="number">
                        {count(queue.running)}
                        {queue.waiting > 0 && <span className="faint"> + {count(queue.waiting)} waiting</span>}
                      </td>
                      <td className="number">{queue.concurrency ?? "–"}</td>
                      <td className="number">{rate(queue.submitted_per_s)} /s</td>
                      <td className="number">{rate(queue.ended_per_s)} /s</td>
                      <td>{queue.paused ? <span className="badge warn">paused</span> : <span className="badge good">open</span>}</td>
                      {isOurs && (
                        <td>
                          <button
                            disabled={hold.isPending}
                            onClick={() => hold.mutate({ queue: queue.name, paused: !queue.paused })}
                            aria-label={`${queue.paused ? "Resume" : "Pause"} ${queue.name}`}
                          >
                            {queue.paused ? "Resume" : "Pause"}
                          </button>
                        </td>
                      )}
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </div>
      <p className="faint">
        <em>Oldest</em> is how long the job that goes next has been ready. A paused queue takes jobs and gives out none; what runs goes on.
      </p>
    </>
  );
}
