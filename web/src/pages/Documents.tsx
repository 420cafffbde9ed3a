import { useMutation, useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { Link } from "wouter";
import { send } from "../api/client";
import { useJobEvents } from "../live/hooks";
import { Empty, Failure, Status } from "../parts/show";

interface Taken {
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

/** Upload, watch the pages come, search in what was read. */
export function Documents() {
  const [taken, setTaken] = useState<Taken[]>([]);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const upload = useMutation({
    mutationFn: async (files: File[]) => {
      for (const file of files) {
        const form = new FormData();
        form.append("file", file);
        const answer = await send("/v1/documents", { method: "POST", body: form });
        const receipt = (await answer.json()) as Taken;
        setTaken((before) => [{ ...receipt, name: file.name }, ...before]);
      }
    },
  });
  const take = (files: FileList | null) => {
    if (files && files.length > 0) upload.mutate([...files]);
  };
  return (
    <>
      <h1>Documents</h1>
      <div
        className="drop"
        data-over={over}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          take(event.dataTransfer.files);
        }}
      >
        <p>Drop files here, or</p>
        <button className="primary" onClick={() => picker.current?.click()} disabled={upload.isPending}>
          {upload.isPending ? "Uploading …" : "Choose files"}
        </button>
        <input ref={picker} type="file" multiple hidden aria-label="Files" onChange={(event) => take(event.target.files)} />
        <p className="faint">PDF, images, DOCX, HTML, Markdown or text. The work goes on when you leave this page.</p>
      </div>
      {upload.error && <Failure error={upload.error} />}
      {taken.length === 0 && <Empty>What you upload appears here, page by page.</Empty>}
      {taken.map((document) => (
        <Document key={document.document_id} document={document} />
      ))}
    </>
  );
}

function Document({ document }: { document: Taken }) {
  const { events } = useJobEvents(document.job_id);
  const [asked, setAsked] = useState("");
  const progress = events.filter((event) => event.type === "job.progress").at(-1)?.data as
    | { fraction?: number; message?: string }
    | undefined;
  const end = events.find((event) => ["job.succeeded", "job.failed", "job.cancelled"].includes(event.type));
  const status = end ? end.type.replace("job.", "") : events.some((event) => event.type === "job.running") ? "running" : "queued";
  const found = useQuery({
    queryKey: ["search", document.document_id, asked],
    enabled: asked !== "" && status === "succeeded",
    queryFn: async () => {
      const answer = await send(`/v1/documents/${document.document_id}/search?q=${encodeURIComponent(asked)}`);
      const body = (await answer.json()) as { hits: Passage[] };
      return body.hits;
    },
  });
  return (
    <section className="card" aria-label={document.name}>
      <div className="head">
        <h2>{document.name}</h2>
        <Status status={status} />
      </div>
      <p>
        {status === "running" && <progress value={progress?.fraction ?? undefined} max={1} aria-label="Progress" />}{" "}
        {status === "running" && progress?.message && <span className="faint">{progress.message} · </span>}
        <Link href={`/ui/jobs/${document.job_id}`}>How it was read</Link>
      </p>
      {status === "failed" && <p className="bad">{(end?.data as { error?: { message?: string } })?.error?.message}</p>}
      {status === "succeeded" && (
        <form
          className="row"
          onSubmit={(event) => {
            event.preventDefault();
            setAsked(String(new FormData(event.currentTarget).get("q") ?? ""));
          }}
        >
          <label className="grow">
            Search in it
            <input name="q" placeholder="what you look for" />
          </label>
          <button>Search</button>
        </form>
      )}
      {found.error && <Failure error={found.error} />}
      {found.data?.length === 0 && <Empty>Nothing in it answers that.</Empty>}
      {found.data?.map((passage, index) => (
        <blockquote key={passage.chunk_id ?? index}>
          <p className="passage">{passage.text}</p>
          <p className="faint">
            {passage.page !== undefined && `page ${passage.page} · `}
            {passage.section && `${passage.section} · `}score {passage.score.toFixed(3)}
          </p>
        </blockquote>
      ))}
    </section>
  );
}
