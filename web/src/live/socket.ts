/**
 * One WebSocket for the whole page. It connects again by itself, with growing pauses, and takes every subscription up
 * where it stood: a job's events are asked for after the last one that came, so nothing is missed and nothing comes
 * twice.
 */
import type { JobEvent, Stats } from "../api/client";

export type Connection = "connecting" | "open" | "closed";

export type StreamWord =
  | { type: "stream.end"; job_id: string }
  | { type: "stream.lagged"; job_id: string }
  | { type: "stream.trimmed"; job_id: string; from: number; to: number };

type JobListener = { event: (event: JobEvent) => void; end: () => void; fail: (message: string) => void };

interface Followed {
  after: number;
  ended: boolean;
  listeners: Set<JobListener>;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** Figures come once a second: so long without any, and the connection is dead, whatever the browser thinks of it. */
const SILENCE_MS = 10_000;

class Live {
  #socket: WebSocket | null = null;
  #state: Connection = "connecting";
  #failures = 0;
  #timer: number | undefined;
  #heardAt = 0;
  #jobs = new Map<string, Followed>();
  #stats = new Set<(stats: Stats) => void>();
  #watchers = new Set<() => void>();

  constructor() {
    window.setInterval(() => {
      const isSilent = this.#stats.size > 0 && this.#state === "open" && Date.now() - this.#heardAt > SILENCE_MS;
      if (isSilent) this.again();
    }, SILENCE_MS / 2);
    // Whoever comes back to the page, or to the network, does not wait out the pause.
    const soon = () => {
      if (this.#state === "closed" && document.visibilityState === "visible") this.#connect();
    };
    window.addEventListener("online", soon);
    document.addEventListener("visibilitychange", soon);
  }

  /** For `useSyncExternalStore`. */
  readonly watch = (listener: () => void): (() => void) => {
    this.#watchers.add(listener);
    if (!this.#socket) this.#connect();
    return () => this.#watchers.delete(listener);
  };

  readonly state = (): Connection => this.#state;

  /** Follows a job from its first event on. The first `after` wins; later listeners hear what comes from now on. */
  job(id: string, after: number, listener: JobListener): () => void {
    let followed = this.#jobs.get(id);
    if (!followed) {
      followed = { after, ended: false, listeners: new Set() };
      this.#jobs.set(id, followed);
      this.#say({ op: "subscribe", job_id: id, after });
    }
    followed.listeners.add(listener);
    return () => {
      followed.listeners.delete(listener);
      if (followed.listeners.size === 0 && this.#jobs.get(id) === followed) {
        this.#jobs.delete(id);
        if (!followed.ended) this.#say({ op: "unsubscribe", job_id: id });
      }
    };
  }

  stats(listener: (stats: Stats) => void): () => void {
    if (this.#stats.size === 0) {
      this.#heardAt = Date.now();
      this.#say({ op: "subscribe", topic: "stats" });
    }
    this.#stats.add(listener);
    return () => {
      this.#stats.delete(listener);
      if (this.#stats.size === 0) this.#say({ op: "unsubscribe", topic: "stats" });
    };
  }

  /** Connects anew, as whoever one is now. */
  again(): void {
    this.#failures = 0;
    const before = this.#socket;
    this.#connect();
    before?.close();
  }

  #become(state: Connection): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#watchers.forEach((watcher) => watcher());
  }

  #say(message: object): void {
    if (!this.#socket) this.#connect();
    else if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #connect(): void {
    window.clearTimeout(this.#timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/events/ws`, ["longhaul.v1"]);
    this.#socket = socket;
    // While the server is away every try is still away: what says so does not come and go.
    if (this.#state !== "closed") this.#become("connecting");
    socket.onopen = () => {
      this.#failures = 0;
      this.#heardAt = Date.now();
      this.#become("open");
      for (const [job_id, { after, ended }] of this.#jobs) if (!ended) this.#say({ op: "subscribe", job_id, after });
      if (this.#stats.size > 0) this.#say({ op: "subscribe", topic: "stats" });
    };
    socket.onmessage = (message) => {
      if (this.#socket !== socket) return;
      this.#heardAt = Date.now();
      this.#hear(JSON.parse(String(message.data)) as Record<string, unknown>);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#become("closed");
      this.#failures += 1;
      const ceiling = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
      // Not all pages at the same moment.
      this.#timer = window.setTimeout(() => this.#connect(), ceiling / 2 + (Math.random() * ceiling) / 2);
    };
  }

  #hear(message: Record<string, unknown>): void {
    if (message.topic === "stats" && "jobs" in message) {
      this.#stats.forEach((listener) => listener(message as unknown as Stats));
      return;
    }
    const job = typeof message.job_id === "string" ? this.#jobs.get(message.job_id) : undefined;
    switch (message.type) {
      case "stream.end":
        if (job) {
          job.ended = true;
          job.listeners.forEach((listener) => listener.end());
        }
        return;
      case "stream.lagged":
        if (job) this.#say({ op: "subscribe", job_id: message.job_id, after: job.after });
        return;
      case "error":
        if (job) job.listeners.forEach((listener) => listener.fail(String(message.message)));
        return;
      case "subscribed":
      case "unsubscribed":
      case "stream.trimmed":
      case "cancel.accepted":
        return;
    }
    if (typeof message.seq !== "number") return;
    const event = message as unknown as JobEvent;
    if (job && event.seq > job.after) {
      job.after = event.seq;
      job.listeners.forEach((listener) => listener.event(event));
    }
  }
}

export const live = new Live();
