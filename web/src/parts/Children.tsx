import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { api, said, type Job } from "../api/client";
import { count, Failure, Loading, Status } from "./show";

/** The most that the server gives at once. */
const PAGE = 200;

/** How often a page of parts is asked for again while the whole runs. */
const LOOK_EVERY_MS = 3_000;

/** The parts of a flow, how each stands, and why those that failed did. */
export function Children({ job: { job_id, version, children: counts }, over }: { job: Job; over: boolean }) {
  const [onlyFailed, setOnlyFailed] = useState(false);
  const children = useInfiniteQuery({
    queryKey: ["children", job_id],
    initialPageParam: undefined as number | undefined,
    queryFn: async ({ pageParam: after, signal }) =>
      said(await api.GET("/v1/jobs/{job_id}/children", { params: { path: { job_id }, query: { limit: PAGE, after } }, signal })),
    getNextPageParam: (page) => (page.has_more ? page.data.at(-1)?.index : undefined),
    // A part that ends is no event of the whole. Of many pages each is asked for as often as a single one.
    refetchInterval: ({ state: { data } }) => (over ? false : LOOK_EVERY_MS * (data?.pages.length ?? 1)),
  });
  const { refetch, fetchNextPage, hasNextPage, isFetchingNextPage, isFetchNextPageError } = children;
  useEffect(() => void refetch({ cancelRefetch: false }), [refetch, version]);
  // Those that failed can stand anywhere: all are looked through.
  const isLooking = onlyFailed && hasNextPage && !isFetchNextPageError;
  useEffect(() => {
    if (isLooking && !isFetchingNextPage) void fetchNextPage();
  }, [isLooking, isFetchingNextPage, fetchNextPage]);
  if (children.error && !children.data) return <Failure error={children.error} again={() => void refetch()} />;
  if (!children.data) return <Loading what="its parts" />;
  const loaded = children.data.pages.flatMap((page) => page.data);
  const shown = onlyFailed ? loaded.filter(({ status }) => status === "failed" || status === "cancelled") : loaded;
  return (
    <section className="card" aria-label="Its parts">
      <div className="head">
        <h2>
          Its parts <span className="faint">· {wordsOf(counts)}</span>
        </h2>
        {counts.failed > 0 && (
          <button aria-pressed={onlyFailed} onClick={() => setOnlyFailed(!onlyFailed)}>
            Only those that failed
          </button>
        )}
      </div>
      <div className="scroll" tabIndex={0} role="group" aria-label="Parts">
        <table>
          <tbody>
            {shown.map((child) => (
              <tr key={child.job_id}>
                <td className="number faint">{child.index}</td>
                <td>
                  <Link className="mono" href={`/ui/jobs/${child.job_id}`}>
                    {child.job_id}
                  </Link>
                </td>
                <td>{child.kind}</td>
                <td>
                  <Status status={child.status} />
                </td>
                <td>
                  {child.error && (
                    <>
                      <strong>{child.error.code}</strong> {child.error.message}
                    </>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {isLooking ? (
        <p className="faint" role="status">
          {count(loaded.length)} of {count(counts.total)} looked through …
        </p>
      ) : (
        hasNextPage && (
          <button disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            More: {count(loaded.length)} of {count(counts.total)} are shown
          </button>
        )
      )}
      {children.error && <Failure error={children.error} again={() => void refetch()} />}
    </section>
  );
}

function wordsOf({ total, succeeded, failed }: Job["children"]): string {
  const standing = total - succeeded - failed;
  return [`${count(succeeded)} succeeded`, failed > 0 && `${count(failed)} failed or cancelled`, standing > 0 && `${count(standing)} not over`]
    .filter(Boolean)
    .join(", ");
}
