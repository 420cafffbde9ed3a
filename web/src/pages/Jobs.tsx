import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { api, said, type Job } from "../api/client";
import { ago, between, count, duration, Empty, Failure, Loading, Status } from "../parts/show";

const ROW = 40;
const PAGE = 200;
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;

interface Filter {
  status: string;
  kind: string;
  queue: string;
  created_after: string;
  metadata: string;
}

/** All jobs, newest first: as far down as one scrolls, with only the rows that show in the page. */
export function Jobs() {
  const [, go] = useLocation();
  const search = useSearch();
  const filter = useMemo<Filter>(() => {
    const given = new URLSearchParams(search);
    return {
      status: given.get("status") ?? "",
      kind: given.get("kind") ?? "",
      queue: given.get("queue") ?? "",
      created_after: given.get("created_after") ?? "",
      metadata: given.get("metadata") ?? "",
    };
  }, [search]);
  const change = (part: Partial<Filter>) => {
    const next = new URLSearchParams(Object.entries({ ...filter, ...part }).filter(([, value]) => value !== ""));
    go(`/ui/jobs${next.size > 0 ? `?${next}` : ""}`, { replace: true });
  };
  const kinds = useQuery({ queryKey: ["kinds"], queryFn: async () => said(await api.GET("/v1/kinds", {})), staleTime: 30_000 });
  return (
    <>
      <div className="head">
        <h1>Jobs</h1>
        <Link className="button" href="/ui/playground">
          Send a job
        </Link>
      </div>
      <form className="card row" onSubmit={(event) => event.preventDefault()} aria-label="Filters">
        <label>
          State
          <select value={filter.status} onChange={(event) => change({ status: event.target.value })}>
            <option value="">any</option>
            {STATES.map((state) => (
              <option key={state}>{state}</option>
            ))}
          </select>
        </label>
        <label>
          Kind
          <select value={filter.kind} onChange={(event) => change({ kind: event.target.value })}>
            <option value="">any</option>
            {kinds.data?.data.map((kind) => (
              <option key={kind.kind}>{kind.kind}</option>
            ))}
          </select>
        </label>
        <Later label="Queue" value={filter.queue} onChange={(queue) => change({ queue })} placeholder="default" />
        <label>
          Made after
          <input
            type="datetime-local"
            value={filter.created_after}
            onChange={(event) => change({ created_after: event.target.value })}
          />
        </label>
        <Later label="Metadata" value={filter.metadata} onChange={(metadata) => change({ metadata })} placeholder="key=value" />
      </form>
      <List filter={filter} />
    </>
  );
}

/** A text that counts when one has stopped typing. */
function Later(given: { label: string; value: string; onChange: (value: string) => void; placeholder: string }) {
  const { label, value, onChange, placeholder } = given;
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return (
    <label>
      {label}
      <input
        value={text}
        placeholder={placeholder}
        onChange={(event) => setText(event.target.value)}
        onBlur={() => text !== value && onChange(text)}
        onKeyDown={(event) => event.key === "Enter" && onChange(text)}
      />
    </label>
  );
}

function List({ filter }: { filter: Filter }) {
  const place = useRef<HTMLDivElement>(null);
  const query = useInfiniteQuery({
    queryKey: ["jobs", filter],
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam, signal }) => {
      const at = filter.created_after ? new Date(filter.created_after) : undefined;
      const given: Record<string, unknown> = { limit: PAGE };
      if (filter.status) given.status = filter.status;
      if (filter.kind) given.kind = filter.kind;
      if (filter.queue) given.queue = filter.queue;
      if (at && !Number.isNaN(at.getTime())) given.created_after = at.toISOString();
      if (pageParam) given.cursor = pageParam;
      const [key, ...value] = filter.metadata.split("=");
      if (key && value.length > 0) given[`metadata.${key}`] = value.join("=");
      return said(await api.GET("/v1/jobs", { params: { query: given as never }, signal }));
    },
    getNextPageParam: (page) => (page.has_more ? (page.next_cursor ?? undefined) : undefined),
    // Only while the top is looked at: a list that grows under the reader is no list.
    refetchInterval: (state) => ((state.state.data?.pages.length ?? 0) <= 1 ? 2_000 : false),
  });
  const jobs = useMemo(() => query.data?.pages.flatMap((page) => page.data as unknown as Job[]) ?? [], [query.data]);
  const rows = useVirtualizer({
    count: jobs.length,
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && last >= jobs.length - 60) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage, last, jobs.length]);
  if (query.error) return <Failure error={query.error} again={() => void query.refetch()} />;
  if (!query.data) return <Loading what="jobs" />;
  if (jobs.length === 0 && !hasNextPage) {
    return (
      <Empty>
        No job is like that. <Link href="/ui/playground">Send one</Link>, or look for others.
      </Empty>
    );
  }
  return (
    <div className="card">
      <div className="line title" aria-hidden="true">
        <span>Job</span>
        <span>Kind</span>
        <span className="late">Queue</span>
        <span>State</span>
        <span className="late">Made</span>
        <span className="late">Took</span>
      </div>
      <div className="list" ref={place} role="list" aria-label="Jobs, newest first" tabIndex={0}>
        <div style={{ height: rows.getTotalSize(), position: "relative" }}>
          {shown.map((row) => {
            const job = jobs[row.index];
            if (!job) return null;
            return (
              <div role="listitem" key={job.job_id}>
                <Link
                  className="line"
                  href={`/ui/jobs/${job.job_id}`}
                  style={{ height: ROW, transform: `translateY(${row.start}px)` }}
                >
                  <span className="mono">
                    <span className="late">{job.job_id.slice(0, -10)}</span>
                    {job.job_id.slice(-10)}
                  </span>
                  <span>{job.kind}</span>
                  <span className="late">{job.queue}</span>
                  <Status status={job.status} reason={job.status_reason} />
                  <span className="late faint">{ago(job.created_at)}</span>
                  <span className="late">{duration(between(job.started_at, job.finished_at))}</span>
                </Link>
              </div>
            );
          })}
        </div>
      </div>
      <p className="faint">
        {count(jobs.length)} loaded{hasNextPage ? ", more as you scroll" : ""}
      </p>
    </div>
  );
}
