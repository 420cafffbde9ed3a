/**
 * What a job's events come to, kept up as they come: a thousand deltas cost a thousand additions, not a thousand times
 * all of them. Where the job stands is kept apart from the events, of which only the newest are shown.
 */
import type { JobEvent } from "../api/client";

/** How much of a streamed text is shown. A browser takes long to lay out more; all of it is in the job's result. */
const SHOWN_CHARACTERS = 200_000;

/** How many streamed items, and how many of the other events, are shown. */
const SHOWN_ITEMS = 500;
const SHOWN_EVENTS = 500;

/** Of how many steps the names are kept: a document has one a page. */
const STEPS_MOST = 2_000;

/** What the events that change where a job stands make of it. */
const STANDINGS: Record<string, string> = {
  "job.queued": "queued", "job.running": "running", "job.waiting": "running",
  "job.succeeded": "succeeded", "job.failed": "failed", "job.cancelled": "cancelled",
};

export interface Followed {
  /** All but the deltas, in order; of very many the newest. */
  events: JobEvent[];
  /** How many events before those are left out. */
  earlier: number;
  /** Where the job stands; undefined before its first event. */
  status: string | undefined;
  /** The last event that changed where it stands. */
  moved: number;
  /** The event that ended it. */
  end: JobEvent | undefined;
  /** How far its work is, as that told last. */
  progress: { fraction?: number | null; message?: string | null } | undefined;
  /** The steps that are stored. */
  steps: string[];
  /** The streamed text; of a very long one its end. */
  text: string;
  items: unknown[];
  /** Whether there is, or was, more text, or more items, than is shown. */
  isCut: boolean;
  over: boolean;
  failure: string | undefined;
}

export const NOTHING: Followed = {
  events: [], earlier: 0, status: undefined, moved: 0, end: undefined, progress: undefined, steps: [],
  text: "", items: [], isCut: false, over: false, failure: undefined,
};

interface Delta {
  seq: number;
  text: string;
  items: unknown[];
}

export class Output {
  #events: JobEvent[] = [];
  #count = 0;
  #status: string | undefined;
  #moved = 0;
  #end: JobEvent | undefined;
  #progress: Followed["progress"];
  #steps: string[] = [];
  #deltas: Delta[] = [];
  #text = "";
  #items: unknown[] = [];
  #isTrimmed = false;

  push(event: JobEvent): void {
    if (event.type === "job.output.delta") {
      const { text = "", items = [] } = event.data as { text?: string; items?: unknown[] };
      this.#deltas.push({ seq: event.seq, text, items });
      this.#text += text;
      this.#items.push(...items);
      return;
    }
    if (event.type === "job.output.reset") {
      // What came after this is void: a new attempt writes it again.
      const keep = Number((event.data as { keep_through?: number }).keep_through ?? 0);
      this.#deltas = this.#deltas.filter((delta) => delta.seq <= keep);
      this.#text = this.#deltas.map((delta) => delta.text).join("");
      this.#items = this.#deltas.flatMap((delta) => delta.items);
    }
    const status = STANDINGS[event.type];
    if (status !== undefined) {
      this.#status = status;
      this.#moved = event.seq;
      if (status !== "queued" && status !== "running") this.#end = event;
    }
    if (event.type === "job.progress") this.#progress = event.data as Followed["progress"];
    if (event.type === "job.step" && this.#steps.length < STEPS_MOST) {
      // A new list: whoever has the one before sees that there is more.
      this.#steps = [...this.#steps, String((event.data as { step?: string }).step ?? "")];
    }
    this.#count += 1;
    this.#events.push(event);
    if (this.#events.length >= 2 * SHOWN_EVENTS) this.#events = this.#events.slice(-SHOWN_EVENTS);
  }

  /** Pieces of the output are not kept any more: what is shown is not all of it. */
  trim(): void {
    this.#isTrimmed = true;
  }

  view(): Omit<Followed, "over" | "failure"> {
    const events = this.#events.slice(-SHOWN_EVENTS);
    return {
      events,
      earlier: this.#count - events.length,
      status: this.#status,
      moved: this.#moved,
      end: this.#end,
      progress: this.#progress,
      steps: this.#steps,
      text: this.#text.slice(-SHOWN_CHARACTERS),
      items: this.#items.slice(-SHOWN_ITEMS),
      isCut: this.#isTrimmed || this.#text.length > SHOWN_CHARACTERS || this.#items.length > SHOWN_ITEMS,
    };
  }
}
