/** Small pieces that every page uses: states of jobs, times, errors, nothing yet. */
import type { ReactNode } from "react";
import { ApiError, Unreachable } from "../api/client";

const TINTS: Record<string, string> = {
  queued: "idle", running: "busy", succeeded: "good", failed: "bad", cancelled: "warn",
  closed: "good", open: "bad", half_open: "warn",
};

export function Status({ status, reason }: { status: string; reason?: string | null }) {
  return (
    <span className={`badge ${TINTS[status] ?? "idle"}`} title={reason ?? undefined}>
      {status.replaceAll("_", " ")}
      {reason && reason !== "executing" && reason !== "ready" ? ` · ${reason.replaceAll("_", " ")}` : ""}
    </span>
  );
}

export function Failure({ error, again }: { error: unknown; again?: () => void }) {
  const problem = error instanceof ApiError ? error.problem : undefined;
  const title = error instanceof Unreachable ? "The server cannot be reached" : "Something went wrong in this page";
  return (
    <div className="banner bad" role="alert">
      <p>
        <strong>{problem?.title ?? title}</strong>
        {problem ? `: ${problem.detail}` : error instanceof Unreachable ? "." : `: ${String(error)}`}
      </p>
      {problem?.errors?.map((field) => (
        <p key={field.pointer}>
          <code>{field.pointer}</code> {field.message}
        </p>
      ))}
      {problem?.request_id && <p className="faint mono">request {problem.request_id}</p>}
      {again && <button onClick={again}>Try again</button>}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <p className="empty" role="status">
      Loading {what} …
    </p>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <div className="empty">{children}</div>;
}

export function Figure({ name, value, note, tint }: { name: string; value: string; note?: string; tint?: string }) {
  return (
    <div className="card figure">
      <div className="name">{name}</div>
      <div className={`value ${tint ?? ""}`}>{value}</div>
      {note && <div className="note">{note}</div>}
    </div>
  );
}

export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${plain(ms / 1_000, ms < 10_000 ? 1 : 0)} s`;
  if (ms < 3_600_000) {
    const seconds = Math.floor((ms % 60_000) / 1_000);
    return `${Math.floor(ms / 60_000)} min${seconds === 0 ? "" : ` ${seconds} s`}`;
  }
  return `${plain(ms / 3_600_000, 1)} h`;
}

/** With so many decimals, unless they are naught. */
function plain(number: number, decimals: number): string {
  return number.toFixed(decimals).replace(/\.0+$/, "");
}

export function between(from: string | null | undefined, to: string | null | undefined): number | null {
  if (!from) return null;
  // This machine's clock may be behind the server's.
  return Math.max(0, (to ? Date.parse(to) : Date.now()) - Date.parse(from));
}

export function ago(time: string): string {
  const ms = between(time, null) ?? 0;
  return ms < 1_000 ? "now" : `${duration(ms < 10_000 ? Math.floor(ms / 1_000) * 1_000 : ms)} ago`;
}

const DATE = { day: "2-digit", month: "2-digit", year: "numeric" } as const;
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" } as const;
const NAMED = new Intl.DateTimeFormat("en-GB", { ...DATE, ...TIME, timeZoneName: "short" });
const PRECISE = new Intl.DateTimeFormat("en-GB", { ...DATE, year: undefined, ...TIME, fractionalSecondDigits: 3 });

/** A point in time as this machine's clock has it, with the name of its zone. */
export function local(time: string): string {
  return NAMED.format(new Date(time));
}

/** The zone of this machine, as it is now. */
export function zone(): string {
  return NAMED.formatToParts().find((part) => part.type === "timeZoneName")?.value ?? "local time";
}

/** Local time, with UTC in its title. `precise`: to the millisecond, and without the zone, which stands beside. */
export function Time({ at, precise = false }: { at: string; precise?: boolean }) {
  return (
    <time dateTime={at} title={at}>
      {precise ? PRECISE.format(new Date(at)) : local(at)}
    </time>
  );
}

export function percent(part: number | null | undefined): string {
  return part === null || part === undefined ? "–" : `${plain(part * 100, part > 0 && part < 0.1 ? 1 : 0)} %`;
}

export function count(number: number | null | undefined): string {
  return number === null || number === undefined ? "–" : new Intl.NumberFormat("en").format(number);
}

export function rate(number: number): string {
  return number >= 100 ? count(Math.round(number)) : number.toFixed(number < 10 ? 1 : 0);
}

export function dollars(microusd: number): string {
  return `$${(microusd / 1_000_000).toFixed(microusd >= 1_000_000 ? 2 : microusd >= 10_000 || microusd === 0 ? 4 : 6)}`;
}

export function pretty(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
