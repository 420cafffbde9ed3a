import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, ApiError, said, send, type Job } from "../api/client";
import { useJobEvents } from "../live/hooks";
import { ago, count, Empty, Failure, local, Status } from "./show";

export interface Taken {
  job_id: string;
  document_id: string;
  name: string;
}

interface Passage {
  chunk_id?: string;
  page?: number;
  section?: string | null;
  text: string;
  score: number;
}

interface Page {
  page: number;
  chars?: number;
  source?: string;
  error?: unknown;
}

const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/**
 * A document of before. What it is called and what was read comes with all of its text, so it is asked for when somebody
 * opens it; one that is still being read is watched.
 */
export function EarlierDocument({ job }: { job: Job }) {
  const isOver = ENDED.has(job.status);
  const [isOpen, setOpen] = useState(!isOver);
  if (isOpen) return <DocumentCard jobId={job.job_id} isOver={isOver} />;
  const title = `Document of ${local(job.created_at)}`;
  return (
    <section className="card" aria-label={title}>
      <div className="head">
        <h2>{title}</h2>
        <Status status={job.status} />
      </div>
      <p className="row">
        <button aria-label={`Open: ${title}`} onClick={() => setOpen(true)}>
          Open
        </button>
        <Link href={`/ui/jobs/${job.job_id}`}>How it was read</Link>
      </p>
    </section>
  );
}

/** One document: how far its reading is, its pages as they come, and what it says. */
export function DocumentCard({ jobId, taken, isOver }: { jobId: string; taken?: Taken; isOver: boolean }) {
  const { status = "queued", end, progress, steps, failure } = useJobEvents(jobId);
  const hasEnded = isOver || end !== undefined;
  const job = useQuery({
    queryKey: ["ingest", jobId, hasEnded],
    // With its output it is large, and will not change.
    staleTime: hasEnded ? Number.POSITIVE_INFINITY : 0,
    placeholderData: (before) => before,
    queryFn: async () => {
      const { created_at, input, output } = said(await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: jobId } } })) as unknown as Job;
      const { document_id } = input as { document_id?: string };
      // Of the output only what is shown is kept.
      return { created_at, document_id, pages: (output as { pages?: Page[] } | null | undefined)?.pages };
    },
  });
  const documentId = taken?.document_id ?? job.data?.document_id;
  const document = useQuery({
    queryKey: ["document", documentId],
    enabled: !taken && documentId !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    queryFn: async () => said(await api.GET("/v1/documents/{document_id}", { params: { path: { document_id: documentId ?? "" } } })).file_name,
  });
  // A document that was removed leaves its job behind.
  const isGone = document.error instanceof ApiError && [404, 410].includes(document.error.problem.status);
  const name = taken?.name ?? document.data ?? documentId ?? jobId;
  return (
    <section className="card" aria-label={name}>
      <div className="head">
        <h2>{name}</h2>
        <Status status={status} />
      </div>
      <p>
        {status === "running" && <progress value={progress?.fraction ?? undefined} max={1} aria-label="Progress" />}{" "}
        {status === "running" && progress?.message && <span className="faint">{progress.message} · </span>}
        {job.data && <span className="faint">{ago(job.data.created_at)} · </span>}
        <Link href={`/ui/jobs/${jobId}`}>How it was read</Link>
      </p>
      {status === "failed" && <p className="bad">{(end?.data as { error?: { message?: string } } | undefined)?.error?.message}</p>}
      {isGone && <p className="faint">The document itself is not there any more.</p>}
      {(job.error ?? (!isGone && document.error)) && <Failure error={job.error ?? document.error} />}
      {failure && <p className="bad">{failure}</p>}
      <Pages steps={steps} told={job.data?.pages} />
      {status === "succeeded" && documentId && !isGone && <Search documentId={documentId} />}
    </section>
  );
}

/** How many pages are shown one by one. */
const PAGES_MOST = 400;

/** The pages that are read, as they come; at the end with what each gave. */
function Pages({ steps, told }: { steps: string[]; told: Page[] | undefined }) {
  const read = steps.filter((name) => name.startsWith("page:")).map((name) => ({ page: Number(name.slice(5)) }));
  const pages: Page[] = told ?? read.sort((a, b) => a.page - b.page);
  if (pages.length === 0) return null;
  const failed = pages.filter((page) => page.error).length;
  return (
    <>
      <ul className="pages" aria-label="Pages">
        {pages.slice(0, PAGES_MOST).map((page) => (
          <li key={page.page} className={page.error ? "bad" : page.source === "ocr" ? "warn" : "good"} title={wordsOf(page)}>
            {page.page}
            <span className="unseen">: {wordsOf(page)}</span>
          </li>
        ))}
      </ul>
      {(pages.length > PAGES_MOST || failed > 0) && (
        <p className="faint">
          {count(pages.length)} pages{failed > 0 && `, ${count(failed)} of which could not be read`}
        </p>
      )}
    </>
  );
}

function wordsOf(page: Page): string {
  if (page.error) return `not read: ${(page.error as { message?: string }).message ?? String(page.error)}`;
  if (page.chars === undefined) return "read";
  return `${count(page.chars)} characters${page.source === "ocr" ? ", by OCR" : ""}`;
}

function Search({ documentId }: { documentId: string }) {
  const [asked, setAsked] = useState("");
  const found = useQuery({
    queryKey: ["search", documentId, asked],
    enabled: asked !== "",
    queryFn: async () => {
      const answer = await send(`/v1/documents/${documentId}/search?q=${encodeURIComponent(asked)}`);
      return ((await answer.json()) as { hits: Passage[] }).hits;
    },
  });
  return (
    <>
      <form
        className="row"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(String(new FormData(event.currentTarget).get("q") ?? "").trim());
        }}
      >
        <label className="grow">
          Search in it
          <input name="q" placeholder="what you look for" />
        </label>
        <button>Search</button>
      </form>
      {found.error && <Failure error={found.error} />}
      {found.isFetching && <p className="faint" role="status">Searching …</p>}
      {found.data?.length === 0 && <Empty>Nothing in it answers that.</Empty>}
      {found.data?.map((passage, index) => (
        <blockquote key={passage.chunk_id ?? index}>
          <p className="passage" tabIndex={0}>
            {passage.text}
          </p>
          <p className="faint">
            {passage.page !== undefined && `page ${passage.page} · `}
            {passage.section && `${passage.section} · `}score {passage.score.toFixed(3)}
          </p>
        </blockquote>
      ))}
    </>
  );
}
