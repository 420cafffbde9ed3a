/**
 * One WebSocket for the whole page. It connects again by itself, with growing pauses, and takes every subscription up
 * where it stood.
 *
 * What a reader has is judged by numbers alone: after event n it takes event n + 1 and nothing else, so that whatever
 * else is on the wire (events of a subscription that has been left, of one that begins anew) neither repeats nor leaves
 * out anything. A reader is at the end when the job's last event has come, and never before: a subscription that ends
 * otherwise is taken up again.
 *
 * A connection is open when the server has said something on it. One that is accepted and closed at once, as by a server
 * that goes down, counts as none.
 */
import type { JobEvent, Stats } from "../api/client";
import { exactly } from "../api/json";

/** `off`: whoever looks may follow nothing. */
export type Connection = "connecting" | "open" | "closed" | "off";

export interface JobListener {
  event: (event: JobEvent) => void;
  /** Pieces of output are left out here: they are not kept any more. */
  trimmed: () => void;
  /** The job's last event has come. */
  end: () => void;
  /** Why nothing comes; undefined: it goes on. */
  fail: (failure: string | undefined) => void;
}

export interface StatsListener {
  figures: (stats: Stats) => void;
  fail: (failure: string) => void;
}

interface Reader {
  /** The last event that it has. */
  after: number;
  isOver: boolean;
  listener: JobListener;
}

interface Followed {
  readers: Set<Reader>;
  /** Whether the server was asked to send its events, and has not said that it does not. */
  isAsked: boolean;
  hasFailed: boolean;
  /** How often it broke off since an event came. */
  breaks: number;
  timer: number | undefined;
}

const ENDS = new Set(["job.succeeded", "job.failed", "job.cancelled"]);

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** After so long without a word the server is asked whether it is there. */
const ASK_AFTER_MS = 5_000;

/** So long without an answer, or in opening, and the connection is dead, whatever the browser thinks of it. */
const SILENCE_MS = 10_000;

class Live {
  #socket: WebSocket | null = null;
  #state: Connection = "connecting";
  #hasBegun = false;
  #failures = 0;
  #timer: number | undefined;
  #startedAt = 0;
  #heardAt = 0;
  #askedAt = 0;
  #jobs = new Map<string, Followed>();
  /** Of which jobs an unsubscribe is under way, and how many: until it is answered their events are not for us. */
  #leaving = new Map<string, number>();
  #stats = new Set<StatsListener>();
  #watchers = new Set<() => void>();
  #closings = new Set<() => void>();

  constructor() {
    window.setInterval(() => this.#listen(), ASK_AFTER_MS / 2);
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
    if (!this.#hasBegun) this.#connect();
    return () => this.#watchers.delete(listener);
  };

  readonly state = (): Connection => this.#state;

  /** Calls for every connection that ends, also for one that never opened. */
  onClose(listener: () => void): () => void {
    this.#closings.add(listener);
    return () => this.#closings.delete(listener);
  }

  /** Follows a job from behind event `after`. Each listener hears everything from there on, whoever else follows it. */
  job(id: string, after: number, listener: JobListener): () => void {
    const followed = this.#jobs.get(id) ?? { readers: new Set(), isAsked: false, hasFailed: false, breaks: 0, timer: undefined };
    this.#jobs.set(id, followed);
    const reader = { after, isOver: false, listener };
    followed.readers.add(reader);
    // Begun anew, from where the one who has least stands.
    this.#leave(id, followed);
    this.#ask(id, followed);
    return () => {
      followed.readers.delete(reader);
      if (followed.readers.size > 0 || this.#jobs.get(id) !== followed) return;
      window.clearTimeout(followed.timer);
      this.#jobs.delete(id);
      this.#leave(id, followed);
    };
  }

  stats(listener: StatsListener): () => void {
    if (this.#stats.size === 0) this.#say({ op: "subscribe", topic: "stats" });
    this.#stats.add(listener);
    return () => {
      this.#stats.delete(listener);
      if (this.#stats.size === 0) this.#say({ op: "unsubscribe", topic: "stats" });
    };
  }

  /** Whether there is to be a connection at all. Allowed anew, it is another: as whoever one is now. */
  allow(isAllowed: boolean): void {
    if (isAllowed === (this.#state !== "off")) return;
    window.clearTimeout(this.#timer);
    this.#failures = 0;
    if (isAllowed) {
      this.#become("connecting");
      this.#connect();
      return;
    }
    const socket = this.#socket;
    this.#socket = null;
    this.#become("off");
    socket?.close();
  }

  #become(state: Connection): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#watchers.forEach((watcher) => watcher());
  }

  /** Whether it was said: while there is no connection nothing is, and the next one begins with all there is to say. */
  #say(message: object): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #ask(id: string, followed: Followed): void {
    window.clearTimeout(followed.timer);
    followed.timer = undefined;
    const standing = [...followed.readers].filter((reader) => !reader.isOver).map((reader) => reader.after);
    if (standing.length === 0) return;
    followed.isAsked = this.#say({ op: "subscribe", job_id: id, after: Math.min(...standing) });
  }

  #leave(id: string, followed: Followed): void {
    if (!followed.isAsked) return;
    followed.isAsked = false;
    if (this.#say({ op: "unsubscribe", job_id: id })) this.#leaving.set(id, (this.#leaving.get(id) ?? 0) + 1);
  }

  /** The subscription broke off before the job's end: it is taken up again, after a pause. */
  #later(id: string, followed: Followed): void {
    window.clearTimeout(followed.timer);
    followed.isAsked = false;
    followed.breaks += 1;
    followed.timer = window.setTimeout(() => this.#ask(id, followed), pause(followed.breaks));
  }

  #connect(): void {
    if (this.#state === "off") return;
    this.#hasBegun = true;
    window.clearTimeout(this.#timer);
    const before = this.#socket;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/events/ws`, ["longhaul.v1"]);
    this.#socket = socket;
    before?.close();
    this.#startedAt = Date.now();
    // While the server is away every try is still away: what says so does not come and go.
    if (this.#state !== "closed") this.#become("connecting");
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      this.#leaving.clear();
      // Whatever is followed, there is an answer.
      this.#askedAt = Date.now();
      this.#say({ op: "ping" });
      for (const [id, followed] of this.#jobs) this.#ask(id, followed);
      if (this.#stats.size > 0) this.#say({ op: "subscribe", topic: "stats" });
    };
    socket.onmessage = (message) => {
      if (this.#socket !== socket) return;
      this.#heardAt = Date.now();
      this.#failures = 0;
      this.#become("open");
      this.#hear(parsed(String(message.data)));
    };
    socket.onclose = () => this.#lose(socket);
  }

  #lose(socket: WebSocket): void {
    if (this.#socket !== socket) return;
    this.#socket = null;
    socket.close();
    for (const followed of this.#jobs.values()) {
      window.clearTimeout(followed.timer);
      followed.isAsked = false;
    }
    this.#become("closed");
    this.#failures += 1;
    this.#timer = window.setTimeout(() => this.#connect(), pause(this.#failures));
    this.#closings.forEach((listener) => listener());
  }

  /** A connection can be dead and nobody is told: whoever hears nothing asks, and whoever gets no answer begins anew. */
  #listen(): void {
    const [socket, now] = [this.#socket, Date.now()];
    if (!socket) return;
    if (this.#state !== "open") {
      if (now - this.#startedAt > SILENCE_MS) this.#lose(socket);
    } else if (this.#askedAt > this.#heardAt) {
      if (now - this.#askedAt > SILENCE_MS) this.#lose(socket);
    } else if (now - this.#heardAt >= ASK_AFTER_MS) {
      this.#askedAt = now;
      this.#say({ op: "ping" });
    }
  }

  #hear(message: Record<string, unknown>): void {
    if (message.topic === "stats") {
      if ("jobs" in message) this.#stats.forEach((listener) => listener.figures(message as unknown as Stats));
      else if (message.type === "error") this.#stats.forEach((listener) => listener.fail(String(message.message)));
      return;
    }
    if (typeof message.job_id !== "string") return;
    const id = message.job_id;
    const leaving = this.#leaving.get(id) ?? 0;
    if (leaving > 0) {
      // One that has come to its end meanwhile is not followed any more: that answers the unsubscribe, too.
      const isAnswer = message.type === "unsubscribed" || (message.type === "error" && message.code === "not_subscribed");
      if (isAnswer && leaving === 1) this.#leaving.delete(id);
      else if (isAnswer) this.#leaving.set(id, leaving - 1);
      return;
    }
    const followed = this.#jobs.get(id);
    if (followed) this.#hearOfJob(id, followed, message);
  }

  #hearOfJob(id: string, followed: Followed, message: Record<string, unknown>): void {
    const open = [...followed.readers].filter((reader) => !reader.isOver);
    switch (message.type) {
      case "subscribed":
        if (followed.hasFailed) open.forEach((reader) => reader.listener.fail(undefined));
        followed.hasFailed = false;
        return;
      case "stream.trimmed": {
        const { from, to } = message as { from: number; to: number };
        for (const reader of open.filter((reader) => from <= reader.after + 1 && to > reader.after)) {
          reader.after = to;
          reader.listener.trimmed();
        }
        return;
      }
      case "stream.lagged":
        this.#later(id, followed);
        return;
      case "stream.end":
        followed.isAsked = false;
        // An end that nobody has seen the last event of is a break.
        if (open.length > 0) this.#later(id, followed);
        return;
      case "error":
        followed.isAsked = false;
        followed.hasFailed = true;
        open.forEach((reader) => reader.listener.fail(String(message.message)));
        // Everything else stays as it is however often one asks.
        if (message.code === "unavailable") this.#later(id, followed);
        return;
    }
    if (typeof message.seq !== "number") return;
    const event = message as unknown as JobEvent;
    followed.breaks = 0;
    for (const reader of open.filter((reader) => event.seq === reader.after + 1)) {
      reader.after = event.seq;
      reader.listener.event(event);
      if (!ENDS.has(event.type)) continue;
      reader.isOver = true;
      reader.listener.end();
    }
    // It cannot be, and if it is: what is missing is asked for, instead of waited for without end.
    const isGap = followed.isAsked && open.some((reader) => event.seq > reader.after + 1);
    if (isGap) this.#later(id, followed);
  }
}

/** Streamed items are shown as they were written. */
function parsed(text: string): Record<string, unknown> {
  const message = JSON.parse(text) as Record<string, unknown>;
  const { items } = (message.data ?? {}) as { items?: unknown[] };
  return items && items.length > 0 ? { ...message, data: (exactly(text) as typeof message).data } : message;
}

/** How long to wait after so many failures in a row; not everybody the same, so that not all come at one moment. */
function pause(failures: number): number {
  const ceiling = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
  return ceiling / 2 + (Math.random() * ceiling) / 2;
}

export const live = new Live();
