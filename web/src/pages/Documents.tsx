import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { api, said, send, type Job } from "../api/client";
import { DocumentCard, EarlierDocument, type Taken } from "../parts/Document";
import { useMay, writes } from "../parts/session";
import { Empty, Failure } from "../parts/show";

/** How many documents of before are listed at once. */
const EARLIER = 12;

interface Sending {
  name: string;
  error?: unknown;
}

/** Upload, watch the pages come, search in what was read. */
export default function Documents() {
  const client = useQueryClient();
  const isOurs = useMay(writes);
  const [taken, setTaken] = useState<Taken[]>([]);
  const [sending, setSending] = useState<Sending[]>([]);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const earlier = useInfiniteQuery({
    queryKey: ["documents"],
    initialPageParam: undefined as string | undefined,
    queryFn: async ({ pageParam: cursor }) =>
      said(await api.GET("/v1/jobs", { params: { query: { kind: "document.ingest", limit: EARLIER, ...(cursor ? { cursor } : {}) } } })),
    getNextPageParam: (page) => (page.has_more ? (page.next_cursor ?? undefined) : undefined),
  });
  const upload = async (file: File) => {
    const entry: Sending = { name: file.name };
    setSending((before) => [...before, entry]);
    try {
      const form = new FormData();
      form.append("file", file);
      const answer = await send("/v1/documents", { method: "POST", body: form });
      const receipt = (await answer.json()) as Taken;
      setTaken((before) => [{ ...receipt, name: file.name }, ...before]);
      setSending((before) => before.filter((other) => other !== entry));
      void client.invalidateQueries({ queryKey: ["documents"] });
    } catch (error) {
      // The others go on: each file stands for itself.
      setSending((before) => before.map((other) => (other === entry ? { ...entry, error } : other)));
    }
  };
  const take = async (files: FileList | null) => {
    // One after the other: they share one way to the server.
    for (const file of [...(files ?? [])]) await upload(file);
  };
  const listed = earlier.data?.pages.flatMap((page) => page.data as unknown as Job[]);
  const rest = listed?.filter((job) => !taken.some((one) => one.job_id === job.job_id)) ?? [];
  const busy = sending.some((entry) => !entry.error);
  return (
    <>
      <h1>Documents</h1>
      {isOurs && (
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
            void take(event.dataTransfer.files);
          }}
        >
          <p>Drop files here, or</p>
          <button className="primary" onClick={() => picker.current?.click()} disabled={busy}>
            {busy ? "Uploading …" : "Choose files"}
          </button>
          <input
            ref={picker}
            type="file"
            multiple
            hidden
            aria-label="Files"
            onChange={(event) => {
              void take(event.target.files);
              // The same file may be chosen again.
              event.target.value = "";
            }}
          />
          <p className="faint">PDF, images, DOCX, HTML, Markdown or text. The work goes on when you leave this page.</p>
        </div>
      )}
      {sending.map((entry, index) =>
        entry.error ? (
          <div key={index}>
            <p className="bad">{entry.name} was not taken:</p>
            <Failure error={entry.error} />
          </div>
        ) : (
          <p key={index} className="faint" role="status">
            Uploading {entry.name} …
          </p>
        ),
      )}
      {earlier.error && <Failure error={earlier.error} again={() => void earlier.refetch()} />}
      {taken.length === 0 && listed?.length === 0 && <Empty>What you upload appears here, page by page.</Empty>}
      {taken.map((document) => (
        <DocumentCard key={document.job_id} jobId={document.job_id} taken={document} isOver={false} />
      ))}
      {rest.map((job) => (
        <EarlierDocument key={job.job_id} job={job} />
      ))}
      {earlier.hasNextPage && (
        <p>
          <button disabled={earlier.isFetchingNextPage} onClick={() => void earlier.fetchNextPage()}>
            More documents
          </button>
        </p>
      )}
    </>
  );
}
