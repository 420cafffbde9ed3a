import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import { api, ApiError, exactJob, said, send, type Attempt, type Job, type JobEvent } from "../api/client";
import { useJobEvents, useNow, useThrottled, type Followed } from "../live/hooks";
import { Children } from "../parts/Children";
import { CopyAsCurl } from "../parts/Copy";
import { addressOf } from "../parts/Filters";
import { useMay, writes } from "../parts/session";
import { between, count, dollars, duration, Empty, Failure, Loading, pretty, Status, Time, zone } from "../parts/show";
import { Waterfall, type CallRecord } from "../parts/Waterfall";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);

interface Answer {
  approve: boolean;
  comment?: string;
}

/** How often the job is looked at again, at most: it comes with its input and its output. */
const LOOK_EVERY_MS = 1_000;

/** How often while it waits. */
const WAITING_LOOK_EVERY_MS = 5_000;

/** One job: where it stands, what every attempt and layer did, and what can be done about it. */
export default function JobPage({ id }: { id: string }) {
  const client = useQueryClient();
  const [, go] = useLocation();
  const isOurs = useMay(writes);
  const followed = useJobEvents(id);
  const path = { params: { path: { job_id: id } } };
  const job = useQuery({
    queryKey: ["job", id],
    queryFn: () => exactJob(id),
    structuralSharing: false,
    // Why a job is not running, and how many stand before it, changes without an event of its own.
    refetchInterval: ({ state: { data } }) => (data && (data.status === "queued" || data.waiting_for) ? WAITING_LOOK_EVERY_MS : false),
  });
  const attempts = useQuery({
    queryKey: ["attempts", id],
    queryFn: async () => said(await api.GET("/v1/jobs/{job_id}/attempts", path)).data as unknown as Attempt[],
  });
  // Every event that changes where the job stands is a reason to look again; all others tell themselves what there is.
  const moved = useThrottled(followed.moved, LOOK_EVERY_MS);
  useEffect(() => {
    if (moved > 0) {
      void client.invalidateQueries({ queryKey: ["job", id] });
      void client.invalidateQueries({ queryKey: ["attempts", id] });
    }
  }, [client, id, moved]);
  const cancel = useMutation({
    mutationFn: async () => said(await api.POST("/v1/jobs/{job_id}/cancel", path)),
    onSettled: () => client.invalidateQueries({ queryKey: ["job", id] }),
  });
  const retry = useMutation({
    mutationFn: async () => said(await api.POST("/v1/jobs/{job_id}/retry", path)) as unknown as { job_id: string },
    onSuccess: (receipt) => go(`/ui/jobs/${receipt.job_id}`),
  });
  const answer = useMutation({
    // With the step of the question that was read, so that no other is answered.
    mutationFn: ({ step, body }: { step: string | null | undefined; body: Answer }) =>
      send(`/v1/jobs/${id}/input${step ? `?step=${encodeURIComponent(step)}` : ""}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    onSettled: () => client.invalidateQueries({ queryKey: ["job", id] }),
  });
  if (job.error && !job.data) return <Failure error={job.error} again={() => void job.refetch()} />;
  if (!job.data) return <Loading what="the job" />;
  const view = job.data;
  const over = ENDED.has(view.status);
  return (
    <>
      <div className="head">
        <div>
          <h1>
            {view.kind} <Status status={view.status} reason={view.status_reason} />
          </h1>
          <p className="mono faint">{view.job_id}</p>
        </div>
        <div className="row">
          {/* Its parts are not in it: without them the command would make another job. */}
          {view.children.total === 0 && <CopyAsCurl path="/v1/jobs" body={() => JSON.stringify(resubmitted(view))} />}
          {isOurs && (
            <>
              <button disabled={!over || retry.isPending} onClick={() => retry.mutate()}>
                Retry
              </button>
              <button className="danger" disabled={over || cancel.isPending} onClick={() => cancel.mutate()}>
                {view.status_reason === "cancelling" ? "Cancelling …" : "Cancel"}
              </button>
            </>
          )}
        </div>
      </div>
      {(cancel.error ?? retry.error) && <Failure error={cancel.error ?? retry.error} />}
      {view.error && (
        <div className="banner bad">
          <strong>{view.error.code}</strong> {view.error.message}
        </div>
      )}
      {answer.error && <NotTaken error={answer.error} />}
      {view.status_reason === "waiting_input" && isOurs ? (
        <Ask
          key={`${view.waiting_for?.step} ${view.waiting_for?.prompt}`}
          job={view}
          isSending={answer.isPending}
          answer={(body) => answer.mutate({ step: view.waiting_for?.step, body })}
        />
      ) : (
        view.waiting_for && <div className="banner idle">{[view.waiting_for.message, view.waiting_for.prompt].filter(Boolean).join(": ")}</div>
      )}
      <section className="wide">
        <div className="card">
          <h2>Where it stands</h2>
          <Facts job={view} progress={over ? view.progress : (followed.progress ?? view.progress)} />
        </div>
        <div className="card">
          <h2>Output</h2>
          <Given job={view} followed={followed} over={over} />
        </div>
      </section>
      <section className="card">
        <h2>Its life</h2>
        {attempts.error && <Failure error={attempts.error} again={() => void attempts.refetch()} />}
        <Waterfall job={view} attempts={attempts.data ?? []} events={followed.events} />
      </section>
      {view.children.total > 0 && <Children job={view} over={over} />}
      <section className="wide">
        <div className="card">
          <h2>
            Events <span className="faint">· times in {zone()}</span>
          </h2>
          <Events followed={followed} over={over} />
        </div>
        <div className="card">
          <h2>Input</h2>
          <pre className="payload" tabIndex={0}>
            {shown(view.input)}
          </pre>
        </div>
      </section>
    </>
  );
}

/** The submit that would make such a job again. */
function resubmitted(job: Job): Record<string, unknown> {
  const metadata = (job.metadata ?? {}) as Record<string, string>;
  return {
    kind: job.kind,
    queue: job.queue,
    ...(job.priority === 0 ? {} : { priority: job.priority }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    max_attempts: job.max_attempts,
    ...(job.deadline_at ? { deadline_s: (Date.parse(job.deadline_at) - Date.parse(job.created_at)) / 1_000 } : {}),
    input: job.input,
  };
}

/** How much of an input or an output is shown; a browser takes long to lay out more. */
const SHOWN_CHARACTERS = 200_000;

function shown(value: unknown): string {
  const text = pretty(value) ?? "";
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}\n… ${count(text.length - SHOWN_CHARACTERS)} more characters` : text;
}

function Facts({ job, progress }: { job: Job; progress: NonNullable<Followed["progress"]> }) {
  // How long it has run goes on while nothing else comes.
  useNow(1_000, job.started_at != null && !job.finished_at);
  return (
    <dl className="facts">
      <Fact name="queue">
        <Link href={`/ui/jobs?queue=${encodeURIComponent(job.queue)}`}>{job.queue}</Link>
      </Fact>
      <Fact name="attempt">
        {job.attempt} of {job.max_attempts}
      </Fact>
      {job.queue_position != null && <Fact name="before it">{count(job.queue_position)} jobs</Fact>}
      {(progress.message || progress.fraction != null) && (
        <Fact name="progress">
          {progress.fraction != null && <progress value={progress.fraction} max={1} aria-label="Progress" />} {progress.message}
        </Fact>
      )}
      <Fact name="submitted">
        <Time at={job.created_at} />
      </Fact>
      {job.run_at && (
        <Fact name="runs at">
          <Time at={job.run_at} />
        </Fact>
      )}
      {job.deadline_at && (
        <Fact name="deadline">
          <Time at={job.deadline_at} />
        </Fact>
      )}
      {job.started_at && (
        <Fact name="started">
          <Time at={job.started_at} />
        </Fact>
      )}
      {job.finished_at && (
        <Fact name="ended">
          <Time at={job.finished_at} />
        </Fact>
      )}
      {job.started_at && <Fact name="waited">{duration(between(job.created_at, job.started_at))}</Fact>}
      {job.started_at && <Fact name="ran">{duration(between(job.started_at, job.finished_at))}</Fact>}
      {job.model && <Fact name="model">{job.model}</Fact>}
      {job.usage && job.usage.input_tokens + job.usage.output_tokens > 0 && (
        <>
          <Fact name="tokens">
            {count(job.usage.input_tokens)} in, {count(job.usage.output_tokens)} out
          </Fact>
          <Fact name="cost">{dollars(job.usage.cost_microusd)}</Fact>
        </>
      )}
      {job.degraded && <Fact name="degraded">not by the first target</Fact>}
      {job.cached && <Fact name="cached">from the cache</Fact>}
      {job.retry_of && (
        <Fact name="retry of">
          <Link href={`/ui/jobs/${job.retry_of}`}>{job.retry_of}</Link>
        </Fact>
      )}
      {job.parent_id && (
        <Fact name="part of">
          <Link href={`/ui/jobs/${job.parent_id}`}>{job.parent_id}</Link>
        </Fact>
      )}
      {Object.entries((job.metadata ?? {}) as Record<string, string>).map(([key, value]) => (
        <Fact key={key} name={key}>
          <Link href={addressOf({ metadata: [[key, value]] })}>{value}</Link>
        </Fact>
      ))}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

/** What it streams as it comes, and what it gave in the end. */
function Given({ job, followed, over }: { job: Job; followed: Followed; over: boolean }) {
  const { text, items, isCut } = followed;
  const isStreamed = text !== "" || items.length > 0;
  // A text that was streamed as a whole is not shown twice.
  const isStored = job.output !== null && job.output !== undefined && job.output !== text;
  return (
    <div className="stack">
      {isStreamed && isCut && <p className="faint">Only the end is shown; all of it is in the result.</p>}
      {isStreamed && (
        <div className="stream payload" aria-live="polite" tabIndex={0} role="log" aria-label="Output">
          {text}
          {items.map((item, index) => (
            <pre key={index}>{pretty(item)}</pre>
          ))}
        </div>
      )}
      {isStored && isStreamed && <h3>Its result</h3>}
      {isStored && (
        <pre className="payload" tabIndex={0} aria-label="Result" role="group">
          {shown(job.output)}
        </pre>
      )}
      {!isStreamed && !isStored && <Empty>{over ? "It gave none." : "Nothing yet."}</Empty>}
    </div>
  );
}

/** So long a question is read before it can be answered: a click that was meant for the one before answers nothing. */
const READ_FIRST_MS = 700;

/** A job that waits for a person: what it asks, and the answer. Another question is another form. */
function Ask({ job, isSending, answer }: { job: Job; isSending: boolean; answer: (body: Answer) => void }) {
  const form = useRef<HTMLFormElement>(null);
  const [isNew, setNew] = useState(true);
  useEffect(() => {
    const timer = window.setTimeout(() => setNew(false), READ_FIRST_MS);
    return () => window.clearTimeout(timer);
  }, []);
  const said = () => String(new FormData(form.current ?? undefined).get("comment") ?? "");
  const judge = (approve: boolean) => answer(said() === "" ? { approve } : { approve, comment: said() });
  // Neither button submits: Enter in the comment is no approval.
  return (
    <form ref={form} className="card" aria-label="It waits for you" onSubmit={(event) => event.preventDefault()}>
      <h2 className="badge warn">It waits for you</h2>
      <p className="stream">{job.waiting_for?.prompt ?? "It does not say what for: its history may."}</p>
      <label>
        Comment
        <input name="comment" placeholder="for the job, and for whoever reads its history" />
      </label>
      <p className="row">
        <button type="button" className="primary" disabled={isNew || isSending} onClick={() => judge(true)}>
          Approve
        </button>
        <button type="button" className="danger" disabled={isNew || isSending} onClick={() => judge(false)}>
          Refuse
        </button>
      </p>
    </form>
  );
}

/** What became of an answer that was not taken. */
function NotTaken({ error }: { error: unknown }) {
  if (!(error instanceof ApiError && error.problem.status === 409)) return <Failure error={error} />;
  return (
    <div className="banner warn" role="alert">
      Your answer was not taken: the job does not wait with that question any more. Somebody has answered it meanwhile, or the job has ended.
    </div>
  );
}

/** Its history as it comes; whoever looks at the end stays there. */
function Events({ followed, over }: { followed: Followed; over: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const sticks = useRef(true);
  useEffect(() => {
    const element = place.current;
    if (element && sticks.current && !over) element.scrollTop = element.scrollHeight;
  }, [followed.events, over]);
  return (
    <div
      className="events"
      ref={place}
      tabIndex={0}
      role="log"
      aria-label="Events"
      onScroll={({ currentTarget: at }) => {
        sticks.current = at.scrollHeight - at.scrollTop - at.clientHeight < 40;
      }}
    >
      {followed.earlier > 0 && <p className="faint">{count(followed.earlier)} earlier events are not shown</p>}
      {followed.events.map((event) => (
        <div className="one" key={event.seq}>
          <span className="faint">{event.seq}</span>
          <span className="faint late">
            <Time at={event.time} precise />
          </span>
          <span>{event.type.replace("job.", "")}</span>
          <code>{told(event)}</code>
        </div>
      ))}
      {followed.failure && <p className="bad">{followed.failure}</p>}
    </div>
  );
}

function told(event: JobEvent): string {
  if (event.type === "job.layer") {
    // Drawn in full above.
    const { model, target, attempts, took_us } = event.data as unknown as CallRecord;
    return `${model} → ${target ?? "nothing"}, ${attempts} ${attempts === 1 ? "call" : "calls"}, ${duration(took_us / 1_000)}`;
  }
  const text = JSON.stringify(event.data);
  return text === "{}" ? "" : text;
}
