import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { send, type Stats } from "../api/client";
import { useStats } from "../live/hooks";
import { OldFigures } from "../parts/Old";
import { count, dollars, duration, Empty, Failure, Figure, Loading, percent, rate, Status } from "../parts/show";

interface Layer {
  layer: string;
  calls: number;
  failed: number;
  rejected: number;
  timed_out: number;
  cancelled: number;
  extra: number;
  p50_us: number | null;
  p99_us: number | null;
}

interface Target {
  name: string;
  provider: string;
  upstream_model: string;
  rank: number;
  weight: number;
  attempt_timeout_ms: number;
  breaker: "closed" | "open" | "half_open";
  breaker_mode: string;
  breaker_for_ms: number | null;
  retry: { max_retries: number; initial_ms: number; max_ms: number };
  limit: { rpm: number | null; tpm: number | null; waiting: number };
  places: { limit: number | null; in_use: number; waiting: number };
  connections: [number, number] | null;
  layers: Layer[];
  stream_layers: Layer[];
}

interface Stack {
  model: string;
  serves: string;
  timeout_ms: number;
  worst_case_ms: number | null;
  choose: string;
  cache: { entries: number; max_entries: number; ttl_ms: number; in_flight: number } | null;
  targets: Target[];
  canned: boolean;
}

/** How often each model's stack is asked for: they are many, and the figures above come by themselves. */
const LOOK_EVERY_MS = 5_000;

type Figures = Stats["models"][number];

/** Each model with its targets and their layers, live, and the hand on the breakers. */
export default function Models() {
  const live = useStats();
  const { newest } = live;
  const names = useQuery({
    queryKey: ["models"],
    queryFn: async () => ((await (await send("/v1/models")).json()) as { data: { id: string }[] }).data.map((model) => model.id),
  });
  if (names.error && !names.data) return <Failure error={names.error} again={() => void names.refetch()} />;
  if (!names.data) return <Loading what="models" />;
  return (
    <>
      <div className="head">
        <h1>Models</h1>
        <span className="faint">rates of the last minute; layers since the start</span>
      </div>
      <OldFigures figures={live} />
      {names.data.length === 0 && <Empty>No model is configured. Three lines of longhaul.toml make one.</Empty>}
      {names.data.map((name) => (
        <Model key={name} name={name} figures={newest?.models.find((model) => model.model === name)} />
      ))}
    </>
  );
}

function Model({ name, figures }: { name: string; figures: Figures | undefined }) {
  const client = useQueryClient();
  const path = `/v1/models/${encodeURIComponent(name)}`;
  const stack = useQuery({
    queryKey: ["stack", name],
    queryFn: async () => (await (await send(`${path}/stack`)).json()) as Stack,
    refetchInterval: LOOK_EVERY_MS,
  });
  const purge = useMutation({
    mutationFn: () => send(`${path}/cache`, { method: "DELETE" }),
    onSettled: () => client.invalidateQueries({ queryKey: ["stack", name] }),
  });
  if (stack.error && !stack.data) {
    return (
      <section className="card">
        <h2>{name}</h2>
        <Failure error={stack.error} />
      </section>
    );
  }
  if (!stack.data) return <Loading what={name} />;
  const { cache, targets, canned, worst_case_ms: worst } = stack.data;
  return (
    <section className="card" aria-label={name}>
      <div className="head">
        <h2>{name}</h2>
        <span className="faint">
          {stack.data.serves} · at most {duration(stack.data.timeout_ms)}
          {worst !== null && ` · worst case ${duration(worst)}`}
          {canned && " · a canned reply stands last"}
        </span>
      </div>
      {figures && figures.calls > 0 ? <Now figures={figures} /> : <p className="faint">No call in the last minute.</p>}
      {cache && (
        <p className="row">
          <span>
            cache: {count(cache.entries)} of {count(cache.max_entries)} answers, fresh for {duration(cache.ttl_ms)}, {cache.in_flight} under way
          </span>
          <button onClick={() => purge.mutate()} disabled={purge.isPending || cache.entries === 0} aria-label={`Purge the cache of ${name}`}>
            Purge
          </button>
        </p>
      )}
      {purge.error && <Failure error={purge.error} />}
      {targets.length === 0 && <p className="faint">It computes on this machine and has no layers.</p>}
      {targets.map((target) => (
        <TargetCard key={target.name} model={name} target={target} />
      ))}
    </section>
  );
}

/** Calls that were refused for what they asked are no fault of the model's, and are not counted as errors. */
function errorsNote({ failed, refused }: Figures) {
  return `${count(failed)} without an answer${refused > 0 ? ` · ${count(refused)} refused for what they asked` : ""}`;
}

/** What the model did in the last minute, and what its layers decided. */
function Now({ figures }: { figures: Figures }) {
  return (
    <>
      <div className="grid small">
        <Figure name="Calls" value={`${rate(figures.calls_per_s)} /s`} note={`${count(figures.in_flight)} under way`} />
        <Figure name="Errors" value={percent(figures.error_rate)} note={errorsNote(figures)} tint={(figures.error_rate ?? 0) > 0.01 ? "bad" : undefined} />
        <Figure name="Fallbacks" value={percent(figures.fallback_rate)} note={`${count(figures.retries)} retries`} tint={(figures.fallback_rate ?? 0) > 0.1 ? "bad" : undefined} />
        <Figure name="Cache hits" value={percent(figures.hit_rate)} note={`of ${count(figures.cache_lookups)} lookups`} />
        <Figure name="p50" value={duration(figures.latency_ms.p50)} note={`p95 ${duration(figures.latency_ms.p95)} · p99 ${duration(figures.latency_ms.p99)}`} />
        {figures.first_token_ms.count > 0 && (
          <Figure name="First token p50" value={duration(figures.first_token_ms.p50)} note={`p95 ${duration(figures.first_token_ms.p95)}`} />
        )}
        <Figure name="Cost" value={dollars(figures.cost_microusd)} note={`${count(figures.input_tokens + figures.output_tokens)} tokens`} />
      </div>
      {figures.layers.length > 0 && (
        <ul className="decisions" aria-label="What its layers decided">
          {figures.layers.map(({ decision, count: times }) => (
            <li key={decision}>
              {decision.replaceAll(/[._]/g, " ")} <strong>{count(times)}</strong>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function failures(layer: Layer | undefined): number {
  return layer ? layer.failed + layer.rejected + layer.timed_out : 0;
}

/**
 * Streams that never opened, and those that broke off later. The outer stack counts until the first words, the inner one
 * each attempt to its end: those that failed there and not in opening broke off.
 */
function failedStreams(layers: Layer[]): number {
  const opening = layers.find(({ layer }) => layer === "call");
  const attempts = layers.findLast(({ layer }) => layer === "stack");
  return failures(layers[0]) + Math.max(0, failures(attempts) - failures(opening));
}

function TargetCard({ model, target }: { model: string; target: Target }) {
  const client = useQueryClient();
  const set = useMutation({
    mutationFn: (state: string) =>
      send(`/v1/models/${encodeURIComponent(model)}/targets/${encodeURIComponent(target.name)}/breaker`, {
        method: "PUT",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ state }),
      }),
    onSettled: () => client.invalidateQueries({ queryKey: ["stack", model] }),
  });
  const held = target.breaker_mode !== "auto";
  const hands = [
    { name: "Open", state: "open", idle: target.breaker_mode === "forced_open" },
    { name: "Close", state: "closed", idle: target.breaker_mode === "forced_closed" },
    // From a hand back to the results; from an open breaker that nobody holds to probes, now rather than when its time is over.
    { name: "Reset", state: held ? "auto" : "half_open", idle: !held && target.breaker === "closed" },
  ];
  // A stream's stack holds the stack of its attempts: the whole and the outer call are told by the layers within.
  const within = target.stream_layers.filter((layer, index, all) => layer.layer !== "stack" && all.findLastIndex((other) => other.layer === layer.layer) === index);
  const whole = target.layers.filter((layer) => layer.layer !== "stack").concat(within);
  const outer = [target.layers[0], target.stream_layers[0]].filter((layer) => layer !== undefined);
  const calls = outer.reduce((sum, layer) => sum + layer.calls, 0);
  const failed = failures(target.layers[0]) + failedStreams(target.stream_layers);
  const since = target.breaker_for_ms !== null && (target.breaker !== "closed" || target.breaker_for_ms < 3_600_000) ? ` for ${duration(target.breaker_for_ms)}` : "";
  return (
    <div className="target">
      <div className="head">
        <h3>
          {target.name} <span className="faint">· {target.upstream_model} on {target.provider}</span>
        </h3>
        <div className="row">
          <Status status={target.breaker} reason={target.breaker_mode === "auto" ? null : `by hand`} />
          {since && <span className="faint">{since}</span>}
          {hands.map(({ name, state, idle }) => (
            <button key={name} onClick={() => set.mutate(state)} disabled={set.isPending || idle} aria-label={`${name} breaker of ${target.name}`}>
              {name}
            </button>
          ))}
        </div>
      </div>
      {set.error && <Failure error={set.error} />}
      <div className="grid small">
        <Figure name="Calls" value={count(calls)} note={`${percent(calls > 0 ? failed / calls : null)} failed`} />
        <Figure name="At once" value={`${target.places.in_use}${target.places.limit ? ` of ${target.places.limit}` : ""}`} note={`${target.places.waiting + target.limit.waiting} wait`} />
        <Figure name="Limits" value={target.limit.rpm ? `${count(target.limit.rpm)} rpm` : "none"} note={target.limit.tpm ? `${count(target.limit.tpm)} tokens a minute` : "no token limit"} />
        <Figure name="Attempt time-out" value={duration(target.attempt_timeout_ms)} note={`${target.retry.max_retries} ${target.retry.max_retries === 1 ? "retry" : "retries"}, ${duration(target.retry.initial_ms)} to ${duration(target.retry.max_ms)}`} />
      </div>
      <Layers model={model} target={target} whole={whole.filter((layer) => layer.calls > 0)} />
    </div>
  );
}

function Layers({ model, target, whole }: { model: string; target: Target; whole: Layer[] }) {
  if (whole.length === 0) return null;
  return (
    <div className="scroll" tabIndex={0} role="group" aria-label={`Layers of ${model}/${target.name}`}>
      <table>
        <thead>
          <tr>
            <th>Layer</th>
            <th className="number">Calls</th>
            <th className="number">Failed</th>
            <th className="number">Turned away</th>
            <th className="number">Cut off</th>
            <th className="number">Again</th>
            <th className="number">p50</th>
            <th className="number">p99</th>
          </tr>
        </thead>
        <tbody>
          {whole.map((layer, index) => (
            <tr key={index}>
              <td>
                {layer.layer.replaceAll("_", " ")}
                {target.stream_layers.includes(layer) && <span className="faint"> (streams)</span>}
              </td>
              <td className="number">{count(layer.calls)}</td>
              <td className="number">{count(layer.failed)}</td>
              <td className="number">{count(layer.rejected)}</td>
              <td className="number">{count(layer.timed_out)}</td>
              <td className="number">{count(layer.extra)}</td>
              <td className="number">{duration(layer.p50_us === null ? null : layer.p50_us / 1_000)}</td>
              <td className="number">{duration(layer.p99_us === null ? null : layer.p99_us / 1_000)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
