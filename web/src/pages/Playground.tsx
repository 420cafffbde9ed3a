import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api, said, send } from "../api/client";
import { useJobEvents } from "../live/hooks";
import { Failure, Status } from "../parts/show";

const EXAMPLES: Record<string, unknown> = {
  echo: { hello: "world" },
  analysis: { text: "The night train was late, but the staff were wonderful." },
  process: { items: [{ task: "sentiment", input: "I love the harbour in the morning." }] },
  "llm.chat": { model: "sim", stream: true, messages: [{ role: "user", content: "Tell me about night trains." }] },
};

/** Send a job or a chat, and watch it. */
export function Playground() {
  const kinds = useQuery({ queryKey: ["kinds"], queryFn: async () => said(await api.GET("/v1/kinds", {})) });
  const [kind, setKind] = useState("analysis");
  const [input, setInput] = useState(JSON.stringify(EXAMPLES.analysis, null, 2));
  const [job, setJob] = useState<string>();
  const submit = useMutation({
    mutationFn: async () => {
      const body = JSON.stringify({ kind, input: JSON.parse(input) as unknown });
      const headers = { "content-type": "application/json" };
      const answer = await send("/v1/jobs", { method: "POST", body, headers });
      return ((await answer.json()) as { job_id: string }).job_id;
    },
    onSuccess: setJob,
  });
  return (
    <>
      <h1>Playground</h1>
      <section className="wide">
        <form
          className="card"
          onSubmit={(event) => {
            event.preventDefault();
            submit.mutate();
          }}
        >
          <h2>A job</h2>
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
          <label>
            Input
            <textarea value={input} onChange={(event) => setInput(event.target.value)} spellCheck={false} />
          </label>
          <p>
            <button className="primary" disabled={submit.isPending}>
              Send
            </button>
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
  const { events, text, over } = useJobEvents(id);
  const end = events.find((event) => ["job.succeeded", "job.failed", "job.cancelled"].includes(event.type));
  const job = useQuery({
    queryKey: ["job", id, Boolean(end)],
    queryFn: async () => said(await api.GET("/v1/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });
  const status = end ? end.type.replace("job.", "") : events.some((event) => event.type === "job.running") ? "running" : "queued";
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
      {text && <p className="stream">{text}</p>}
      {end && !text && <pre data-testid="output">{JSON.stringify((job.data as { output?: unknown })?.output ?? null, null, 2)}</pre>}
      <p className="faint">
        {events.length} events{over ? ", and no more" : ""}
      </p>
    </section>
  );
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
  const [said_, setSaid] = useState("Tell me about night trains.");
  const [answer, setAnswer] = useState("");
  const chosen = model || models.data?.find((name) => name !== "local") || models.data?.[0] || "";
  const ask = useMutation({
    mutationFn: async () => {
      setAnswer("");
      const body = JSON.stringify({ model: chosen, stream: true, messages: [{ role: "user", content: said_ }] });
      const response = await send("/v1/chat/completions", { method: "POST", body, headers: { "content-type": "application/json" } });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      while (reader) {
        const { done, value } = await reader.read();
        if (done) break;
        rest += value;
        const lines = rest.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
          const chunk = JSON.parse(line.slice(6)) as { choices?: { delta?: { content?: string } }[]; error?: { message: string } };
          if (chunk.error) throw new Error(chunk.error.message);
          const text = chunk.choices?.[0]?.delta?.content;
          if (text) setAnswer((before) => before + text);
        }
      }
    },
  });
  return (
    <form
      className="card"
      onSubmit={(event) => {
        event.preventDefault();
        ask.mutate();
      }}
    >
      <h2>A chat</h2>
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
        <textarea value={said_} onChange={(event) => setSaid(event.target.value)} />
      </label>
      <p>
        <button className="primary" disabled={ask.isPending || chosen === ""}>
          Ask
        </button>
      </p>
      {ask.error && <p className="bad" role="alert">{ask.error.message}</p>}
      <div className="stream" aria-live="polite" data-testid="answer">
        {answer}
      </div>
    </form>
  );
}
