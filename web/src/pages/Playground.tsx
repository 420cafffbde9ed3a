import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, exactJob, modelError, said, send, type ModelError } from "../api/client";
import { useJobEvents } from "../live/hooks";
import { CopyAsCurl } from "../parts/Copy";
import { dollars, duration, Failure, Loading, Status } from "../parts/show";

const EXAMPLES: Record<string, unknown> = {
  echo: { hello: "world" },
  analysis: { text: "The night train was late, but the staff were wonderful." },
  process: { items: [{ task: "sentiment", input: "I love the harbour in the morning." }] },
  "llm.chat": { model: "sim", stream: true, messages: [{ role: "user", content: "Tell me about night trains." }] },
  "llm.response": { model: "sim", input: "Tell me about night trains." },
  "llm.embeddings": { model: "local", input: "night trains" },
};

/** Send a job or a chat, and watch it. */
export default function Playground() {
  const kinds = useQuery({ queryKey: ["kinds"], queryFn: async () => said(await api.GET("/v1/kinds", {})), staleTime: 30_000 });
  const [kind, setKind] = useState("analysis");
  const [input, setInput] = useState(JSON.stringify(EXAMPLES.analysis, null, 2));
  const [job, setJob] = useState<string>();
  // The input goes as it was typed: parsed and written anew, its numbers might be others.
  const body = () => {
    JSON.parse(input);
    return `{"kind":${JSON.stringify(kind)},"input":${input.trim()}}`;
  };
  const submit = useMutation({
    mutationFn: async () => {
      const headers = { "content-type": "application/json" };
      const answer = await send("/v1/jobs", { method: "POST", body: body(), headers });
      return ((await answer.json()) as { job_id: string }).job_id;
    },
    onSuccess: setJob,
  });
  const about = kinds.data?.data.find((known) => known.kind === kind)?.description;
  return (
    <>
      <h1>Playground</h1>
      {kinds.error && <Failure error={kinds.error} again={() => void kinds.refetch()} />}
      <section className="wide">
        <form
          className="card stack"
          aria-label="A job"
          onSubmit={(event) => {
            event.preventDefault();
            submit.mutate();
          }}
        >
          <h2>A job</h2>
          <p className="faint">Written to disk before it is answered, run when a worker is free, watched as long as you like.</p>
          <label>
            Kind
            <select
              value={kind}
              onChange={(event) => {
                setKind(event.target.value);
                setInput(JSON.stringify(EXAMPLES[event.target.value] ?? {}, null, 2));
              }}
            >
              {(kinds.data?.data.map((known) => known.kind) ?? [kind]).map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          {about && <p className="faint">{about}</p>}
          <label>
            Input
            <textarea value={input} onChange={(event) => setInput(event.target.value)} spellCheck={false} />
          </label>
          <p className="row">
            <button className="primary" disabled={submit.isPending}>
              Send
            </button>
            <CopyAsCurl path="/v1/jobs" body={body} />
          </p>
          {submit.error &&
            (submit.error instanceof SyntaxError ? (
              <p className="bad" role="alert">
                The input is no JSON: {submit.error.message}
              </p>
            ) : (
              <Failure error={submit.error} />
            ))}
        </form>
        <Chat />
      </section>
      {job && <Watched key={job} id={job} />}
    </>
  );
}

function Watched({ id }: { id: string }) {
  const { events, earlier, status = "queued", end, text, over, failure } = useJobEvents(id);
  const job = useQuery({
    queryKey: ["job", id, Boolean(end)],
    queryFn: () => exactJob(id),
    structuralSharing: false,
  });
  const error = (end?.data as { error?: { code: string; message: string } } | undefined)?.error;
  return (
    <section className="card" aria-label="The job that was sent">
      <div className="head">
        <h2>
          <Link href={`/ui/jobs/${id}`} className="mono">
            {id}
          </Link>
        </h2>
        <Status status={status} />
      </div>
      {failure && <p className="bad">{failure}</p>}
      {error && (
        <p className="bad">
          <strong>{error.code}</strong> {error.message}
        </p>
      )}
      {text && <p className="stream">{text}</p>}
      {end && !text && !error && (
        <pre data-testid="output">{JSON.stringify(job.data?.output ?? null, null, 2)}</pre>
      )}
      <p className="faint">
        {earlier + events.length} events{over ? ", and no more" : ""} ·{" "}
        <Link href={`/ui/jobs/${id}`}>its whole life</Link>
      </p>
    </section>
  );
}

/** What the answer's headers tell of how it came about. */
interface Told {
  cache: string | null;
  target: string | null;
  isDegraded: boolean;
  attempts: string | null;
  costMicrousd: number | null;
  firstMs: number | null;
  tookMs: number | null;
}

/** A synchronous chat, streamed. */
function Chat() {
  const models = useQuery({
    queryKey: ["models"],
    queryFn: async () => {
      const answer = await send("/v1/models");
      return ((await answer.json()) as { data: { id: string }[] }).data.map((model) => model.id);
    },
    retry: false,
  });
  const [model, setModel] = useState("");
  const [question, setQuestion] = useState("Tell me about night trains.");
  const [answer, setAnswer] = useState("");
  const [told, setTold] = useState<Told>();
  const chosen = model || models.data?.find((name) => name !== "local") || models.data?.[0] || "";
  const body = () => JSON.stringify({ model: chosen, stream: true, messages: [{ role: "user", content: question }] });
  const ask = useMutation({
    mutationFn: async () => {
      setAnswer("");
      setTold(undefined);
      const began = performance.now();
      const response = await send("/v1/chat/completions", { method: "POST", body: body(), headers: { "content-type": "application/json" } });
      const header = (name: string) => response.headers.get(`longhaul-${name}`);
      const cost = header("cost-microusd");
      let facts: Told = {
        cache: header("cache"), target: header("target"), isDegraded: header("degraded") === "true", attempts: header("attempts"),
        costMicrousd: cost === null ? null : Number(cost), firstMs: null, tookMs: null,
      };
      for await (const text of pieces(response)) {
        facts = { ...facts, firstMs: facts.firstMs ?? performance.now() - began };
        setAnswer((before) => before + text);
      }
      setTold({ ...facts, tookMs: performance.now() - began });
    },
  });
  return (
    <form
      className="card stack"
      aria-label="A chat"
      onSubmit={(event) => {
        event.preventDefault();
        ask.mutate();
      }}
    >
      <h2>A chat</h2>
      <p className="faint">Answered at once through the model's layers, without a job.</p>
      {models.error && <Failure error={models.error} again={() => void models.refetch()} />}
      {models.isPending && <Loading what="models" />}
      <label>
        Model
        <select value={chosen} onChange={(event) => setModel(event.target.value)}>
          {(models.data ?? []).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        You
        <textarea value={question} onChange={(event) => setQuestion(event.target.value)} />
      </label>
      <p className="row">
        <button className="primary" disabled={ask.isPending || chosen === ""}>
          {ask.isPending ? "It answers …" : "Ask"}
        </button>
        <CopyAsCurl path="/v1/chat/completions" body={body} />
      </p>
      {ask.error && <Failure error={ask.error} />}
      <div className="stream" aria-live="polite" data-testid="answer">
        {answer}
      </div>
      {told && (
        <p className="faint" aria-label="How it came about">
          {[
            told.target && `by ${told.target}`,
            told.isDegraded && "not the first target",
            told.cache && told.cache !== "off" && `cache ${told.cache}`,
            told.attempts && `${told.attempts} ${told.attempts === "1" ? "call" : "calls"}`,
            told.firstMs !== null && `first words after ${duration(told.firstMs)}`,
            told.tookMs !== null && `all after ${duration(told.tookMs)}`,
            told.costMicrousd !== null && dollars(told.costMicrousd),
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
      )}
    </form>
  );
}

/** The texts of a streamed chat, as they come. */
async function* pieces(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  const requestId = response.headers.get("x-request-id");
  let rest = "";
  while (reader) {
    const { done, value } = await reader.read().catch(() => {
      throw modelError({ code: "broken_off", message: "the connection ended before the answer did" }, response.status, requestId);
    });
    if (done) return;
    rest += value;
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const chunk = JSON.parse(line.slice(6)) as { choices?: { delta?: { content?: string } }[]; error?: ModelError };
      if (chunk.error) throw modelError(chunk.error, response.status, requestId);
      const text = chunk.choices?.[0]?.delta?.content;
      if (text) yield text;
    }
  }
}
