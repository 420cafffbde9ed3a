import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { api, said, type Job } from "../api/client";
import { useNow } from "../live/hooks";
import { addressOf, Filters, filterOf, queryOf, type Filter } from "../parts/Filters";
import { useMay, writes } from "../parts/session";
import { ago, between, count, duration, Empty, Failure, Loading, Status } from "../parts/show";

const ROW = 40;
const PAGE = 200;

/** So many rows from the end of what is loaded the next page is asked for. */
const AHEAD = 100;

/** How often the top of the list, or what of it is in view, is looked at again. */
const LOOK_EVERY_MS = 2_000;

/** How long the list is kept for whoever comes back to it. */
const KEPT_MS = 300_000;

/** All jobs, newest first: as far down as one scrolls, with only the rows that show in the page. */
export default function Jobs() {
  const [, go] = useLocation();
  const search = useSearch();
  const isOurs = useMay(writes);
  const filter = useMemo(() => filterOf(search), [search]);
  const kinds = useQuery({ queryKey: ["kinds"], queryFn: async () => said(await api.GET("/v1/kinds", {})), staleTime: 30_000 });
  return (
    <>
      <div className="head">
        <h1>Jobs</h1>
        <div className="row">
          <form
            className="row"
            aria-label="A job by its id"
            onSubmit={(event) => {
              event.preventDefault();
              const id = String(new FormData(event.currentTarget).get("id") ?? "").trim();
              if (id !== "") go(`/ui/jobs/${encodeURIComponent(id)}`);
            }}
          >
            <input name="id" placeholder="job_…" aria-label="Job id" autoComplete="off" spellCheck={false} />
            <button>Open</button>
          </form>
          {isOurs && (
            <Link className="button" href="/ui/playground">
              Send a job
            </Link>
          )}
        </div>
      </div>
      <Filters
        filter={filter}
        kinds={kinds.data?.data.map((kind) => kind.kind) ?? []}
        onChange={(part) => go(addressOf({ ...filter, ...part }), { replace: true })}
      />
      <List key={search} filter={filter} />
    </>
  );
}

function List({ filter }: { filter: Filter }) {
  const client = useQueryClient();
  const place = useRef<HTMLDivElement>(null);
  const given = useMemo(() => queryOf(filter), [filter]);
  const [{ from }] = useState(() => {
    // Whoever comes back to it finds the list as it was; whoever opens it sees what is new.
    const from = (window.history.state as Place | null)?.top ?? 0;
    if (from === 0) client.removeQueries({ queryKey: ["jobs", given] });
    return { from };
  });
  const [isTop, setTop] = useState(from === 0);
  const [isHeld, setHeld] = useState(false);
  const query = useInfiniteQuery({
    queryKey: ["jobs", given],
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam, signal }) => {
      const asked = { ...given, limit: PAGE, ...(pageParam ? { cursor: pageParam } : {}) };
      const page = said(await api.GET("/v1/jobs", { params: { query: asked as never }, signal }));
      return { ...page, data: (page.data as unknown as Job[]).map(rowOf) };
    },
    getNextPageParam: (page) => (page.has_more ? (page.next_cursor ?? undefined) : undefined),
    // Only while the top is looked at: a list that grows under the reader, or under the keyboard, is no list, and one does
    // not read a hundred pages again because a window got the focus.
    refetchInterval: ({ state: { data } }) => ((data?.pages.length ?? 0) <= 1 && isTop && !isHeld ? LOOK_EVERY_MS : false),
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: KEPT_MS,
    // Pages never change once they are there: comparing a hundred thousand jobs with themselves would take long.
    structuralSharing: false,
  });
  const pages = query.data?.pages;
  const jobs = useMemo(() => pages?.flatMap((page) => page.data) ?? [], [pages]);
  const isLong = (pages?.length ?? 0) > 1;
  const isStill = isLong || !isTop || isHeld;
  const newest = useQuery({
    queryKey: ["newest", given],
    enabled: isStill,
    refetchInterval: 5_000,
    queryFn: async () => said(await api.GET("/v1/jobs", { params: { query: { ...given, limit: 1 } as never } })).data.at(0)?.job_id,
  });
  const rows = useVirtualizer({ count: jobs.length, getScrollElement: () => place.current, estimateSize: () => ROW, overscan: 10, initialOffset: from });
  // A list that has become short is at its top however far down it was left, and no event says so: neither here nor to
  // the virtualizer, which would place the rows for where it was to begin as soon as there are more of them.
  useLayoutEffect(() => {
    if (!pages) return;
    const top = place.current?.scrollTop ?? 0;
    rows.scrollOffset = top;
    setTop(top <= 0);
  }, [pages, rows]);
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  const now = useInView(given, jobs, isStill ? shown : []);
  useNow(LOOK_EVERY_MS, true);
  const { hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage, refetch } = query;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && !isFetchNextPageError && last >= jobs.length - AHEAD) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, isFetchNextPageError, fetchNextPage, last, jobs.length]);
  // Back at the top for a while it begins anew with the first page.
  const wasAway = useRef(!isTop);
  useEffect(() => {
    if (!isTop) wasAway.current = true;
    if (!isTop || !isLong || isHeld || !wasAway.current) return;
    const timer = window.setTimeout(() => {
      wasAway.current = false;
      client.setQueryData<typeof query.data>(["jobs", given], (data) => data && { pages: data.pages.slice(0, 1), pageParams: data.pageParams.slice(0, 1) });
      void refetch();
    }, LOOK_EVERY_MS);
    return () => window.clearTimeout(timer);
  }, [client, given, isHeld, isLong, isTop, refetch]);
  if (query.error && !query.data) return <Failure error={query.error} again={() => void refetch()} />;
  if (!query.data) return <Loading what="jobs" />;
  if (jobs.length === 0 && !hasNextPage) {
    return Object.keys(given).length > 0 ? (
      <Empty>
        No job is like that. <Link href="/ui/jobs">Show all</Link>
      </Empty>
    ) : (
      <Empty>
        No job has come yet. <Link href="/ui/playground">Send one</Link> and watch it.
      </Empty>
    );
  }
  // From row to row with the arrows; the row is brought into view before it is focused.
  const step = (event: KeyboardEvent<HTMLDivElement>) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const at = Number((document.activeElement as HTMLElement | null)?.dataset.row ?? -1);
    const next = Math.min(Math.max(at + by, 0), jobs.length - 1);
    rows.scrollToIndex(next);
    requestAnimationFrame(() => place.current?.querySelector<HTMLElement>(`[data-row="${next}"]`)?.focus());
  };
  const isOld = isStill && newest.data !== undefined && newest.data !== jobs[0]?.job_id;
  return (
    <div className="card">
      <div className="line title" aria-hidden="true">
        <span>Job</span>
        <span>Kind</span>
        <span className="late">Queue</span>
        <span>State</span>
        <span className="late">Submitted</span>
        <span className="late">Ran</span>
      </div>
      <div
        className="list"
        ref={place}
        role="list"
        aria-label="Jobs, newest first"
        tabIndex={0}
        onKeyDown={step}
        onScroll={({ currentTarget: { scrollTop } }) => setTop(scrollTop <= 0)}
        onFocus={({ target }) => setHeld(target.dataset.row !== undefined)}
        onBlur={() => setHeld(false)}
        onClickCapture={({ currentTarget: { scrollTop: top } }) => window.history.replaceState({ top } satisfies Place, "")}
      >
        <div style={{ height: rows.getTotalSize(), position: "relative" }} role="presentation">
          {shown.map((row) => {
            const job = jobs[row.index];
            return job && <Row key={job.job_id} job={now.get(job.job_id) ?? job} index={row.index} start={row.start} />;
          })}
        </div>
      </div>
      <div className="head">
        <p className="faint" role="status">
          {count(jobs.length)} loaded{isFetchingNextPage ? ", more on the way …" : hasNextPage ? ", more as you scroll" : ", and that is all"}
        </p>
        {isOld && (
          <button
            onClick={() => {
              place.current?.scrollTo({ top: 0 });
              // From the first page anew: reading all loaded pages again would take as many requests.
              void client.resetQueries({ queryKey: ["jobs", given] });
            }}
          >
            There are newer ones: load them
          </button>
        )}
      </div>
      {isFetchNextPageError && <Failure error={query.error} again={() => void fetchNextPage()} />}
    </div>
  );
}

/** Kept with the entry of the browser's history that a list is: how far it was scrolled. */
interface Place {
  top: number;
}

/**
 * The rows that are in view as they stand now, by id. The list itself stays as it was read, so that nothing moves: a job
 * that the filter would not find any more keeps its row.
 */
function useInView(given: Record<string, string>, jobs: Listed[], shown: { index: number }[]): Map<string, Listed> {
  const seen = useRef(NONE);
  const rows = shown.flatMap(({ index }) => jobs[index] ?? []);
  const first = rows[0];
  const isMoving = rows.some((job) => !ENDED.has((seen.current.get(job.job_id) ?? job).status));
  const inView = useQuery({
    queryKey: ["in view", given],
    enabled: first !== undefined && isMoving,
    refetchInterval: LOOK_EVERY_MS,
    gcTime: 0,
    structuralSharing: false,
    queryFn: async ({ signal }) => {
      if (!first) return new Map<string, Listed>();
      // The filter's state is left out: it is what changes.
      const { status: _, ...rest } = given;
      // From the first row in view on; jobs of the same moment may stand before it.
      const before = new Date(Date.parse(first.created_at) + 1).toISOString();
      const query = { ...rest, created_before: before, limit: PAGE };
      const page = said(await api.GET("/v1/jobs", { params: { query: query as never }, signal }));
      return new Map((page.data as unknown as Job[]).map((job) => [job.job_id, rowOf(job)]));
    },
  });
  seen.current = inView.data ?? NONE;
  return first ? seen.current : NONE;
}

const NONE = new Map<string, Listed>();
const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/** What a row shows. A hundred thousand whole jobs would take a hundred megabytes. */
type Listed = Pick<Job, "job_id" | "kind" | "queue" | "status" | "status_reason" | "created_at" | "started_at" | "finished_at"> & {
  /** Why it failed. */
  code: string | undefined;
};

function rowOf({ job_id, kind, queue, status, status_reason, created_at, started_at, finished_at, error }: Job): Listed {
  return { job_id, kind, queue, status, status_reason, created_at, started_at, finished_at, code: status === "failed" ? error?.code : undefined };
}

function Row({ job, index, start }: { job: Listed; index: number; start: number }) {
  return (
    <div role="listitem" className="placed" style={{ height: ROW, transform: `translateY(${start}px)` }}>
      <Link className="line" href={`/ui/jobs/${job.job_id}`} data-row={index}>
        <span className="mono">
          <span className="late">{job.job_id.slice(0, -10)}</span>
          {job.job_id.slice(-10)}
        </span>
        <span>{job.kind}</span>
        <span className="late">{job.queue}</span>
        <span title={job.code}>
          <Status status={job.status} reason={job.status_reason} /> {job.code}
        </span>
        <span className="late faint">{ago(job.created_at)}</span>
        <span className="late">{duration(between(job.started_at, job.finished_at))}</span>
      </Link>
    </div>
  );
}
