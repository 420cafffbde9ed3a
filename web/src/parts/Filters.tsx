import { useEffect, useState } from "react";
import { zone } from "./show";

export interface Filter {
  status: string;
  kind: string;
  queue: string;
  /** RFC 3339, so that whoever is sent the address looks at the same time. */
  created_after: string;
  created_before: string;
  metadata: [string, string][];
  /** What was given as metadata and is no pair. */
  wrong: string;
}

const NAMES = ["status", "kind", "queue", "created_after", "created_before"] as const;
const STATES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;

/** The filter that an address holds, so that it can be sent to somebody. */
export function filterOf(search: string): Filter {
  const given = new URLSearchParams(search);
  const named = Object.fromEntries(NAMES.map((name) => [name, given.get(name) ?? ""])) as Pick<Filter, (typeof NAMES)[number]>;
  const metadata = [...given].filter(([name]) => name.startsWith(PAIR)).map(([name, value]): [string, string] => [name.slice(PAIR.length), value]);
  const typed = pairsOf(given.get("metadata") ?? "");
  return { ...named, metadata: [...metadata, ...typed.metadata], wrong: typed.wrong };
}

/** One parameter for each pair, as the API has them: a value may hold any letter. */
const PAIR = "metadata.";

export function addressOf(filter: Partial<Filter>): string {
  const parts = new URLSearchParams();
  for (const name of NAMES) if (filter[name]) parts.set(name, filter[name]);
  for (const [key, value] of filter.metadata ?? []) parts.append(PAIR + key, value);
  if (filter.wrong) parts.set("metadata", filter.wrong);
  return `/ui/jobs${parts.size > 0 ? `?${parts}` : ""}`;
}

/** What the metadata field comes to: `key=value`, several with commas. A comma before what is no pair belongs to the value. */
function pairsOf(text: string): Pick<Filter, "metadata" | "wrong"> {
  const parts = text.split(/,(?=[^,=]*=)/).map((part) => part.trim()).filter((part) => part !== "");
  const wrong = parts.find((part) => !/^[^=]+=/.test(part)) ?? "";
  const metadata = parts.filter((part) => part !== wrong).map((part): [string, string] => {
    const at = part.indexOf("=");
    return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
  });
  return { metadata, wrong };
}

function textOf({ metadata, wrong }: Filter): string {
  return [...metadata.map((pair) => pair.join("=")), ...(wrong ? [wrong] : [])].join(", ");
}

/** The parameters of `GET /v1/jobs` that a filter comes to. */
export function queryOf(filter: Filter): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of ["status", "kind", "queue"] as const) if (filter[name]) query[name] = filter[name];
  for (const name of ["created_after", "created_before"] as const) {
    const at = new Date(filter[name]);
    if (filter[name] && !Number.isNaN(at.getTime())) query[name] = at.toISOString();
  }
  for (const [key, value] of filter.metadata) query[PAIR + key] = value;
  return query;
}

const SPANS: [string, number][] = [
  ["the last 15 minutes", 15],
  ["the last hour", 60],
  ["the last day", 24 * 60],
];

/** As a field for local time wants it; nothing for what is no time. */
function toField(time: string): string {
  const at = new Date(time);
  return Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function fromField(value: string): string {
  return value === "" ? "" : new Date(value).toISOString();
}

export function Filters(given: { filter: Filter; kinds: string[]; onChange: (part: Partial<Filter>) => void }) {
  const { filter, kinds, onChange } = given;
  const isAny = addressOf(filter) !== addressOf({});
  const { wrong } = filter;
  return (
    <form className="card row" onSubmit={(event) => event.preventDefault()} aria-label="Filters">
      <label>
        State
        <select value={filter.status} onChange={(event) => onChange({ status: event.target.value })}>
          <option value="">any</option>
          {STATES.map((state) => (
            <option key={state}>{state}</option>
          ))}
        </select>
      </label>
      <label>
        Kind
        <select value={filter.kind} onChange={(event) => onChange({ kind: event.target.value })}>
          <option value="">any</option>
          {(filter.kind && !kinds.includes(filter.kind) ? [filter.kind, ...kinds] : kinds).map((kind) => (
            <option key={kind}>{kind}</option>
          ))}
        </select>
      </label>
      <Later label="Queue" value={filter.queue} onChange={(queue) => onChange({ queue })} placeholder="default" />
      <Later label="Metadata" value={textOf(filter)} onChange={(text) => onChange(pairsOf(text))} placeholder="team=search" />
      <label>
        Submitted
        <select
          value=""
          onChange={(event) => {
            const minutes = Number(event.target.value);
            onChange({ created_after: minutes > 0 ? new Date(Date.now() - minutes * 60_000).toISOString() : "", created_before: "" });
          }}
        >
          <option value="">{filter.created_after || filter.created_before ? "as said here →" : "at any time"}</option>
          {SPANS.map(([name, minutes]) => (
            <option key={name} value={minutes}>
              in {name}
            </option>
          ))}
          <option value="0">at any time</option>
        </select>
      </label>
      <label>
        From ({zone()})
        <input type="datetime-local" value={toField(filter.created_after)} onChange={(event) => onChange({ created_after: fromField(event.target.value) })} />
      </label>
      <label>
        Until ({zone()})
        <input type="datetime-local" value={toField(filter.created_before)} onChange={(event) => onChange({ created_before: fromField(event.target.value) })} />
      </label>
      {isAny && (
        <button type="button" onClick={() => onChange(filterOf(""))}>
          Show all
        </button>
      )}
      {wrong && (
        <p className="bad" role="alert">
          “{wrong}” is no pair: metadata is looked for as <code>key=value</code>, several with commas.
        </p>
      )}
    </form>
  );
}

/** A text that counts when one has left the field or pressed Enter. */
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
