/**
 * What a job's events come to, kept up as they come: a thousand deltas cost a thousand additions, not a thousand times
 * all of them.
 */
import type { JobEvent } from "../api/client";

/** How much of a streamed text is shown. A browser takes long to lay out more; all of it is in the job's result. */
const SHOWN_CHARACTERS = 200_000;

/** How many streamed items, and how many of the other events, are shown. */
const SHOWN_ITEMS = 500;
const SHOWN_EVENTS = 500;

export interface Followed {
  /** All but the deltas, in order; of very many the newest. */
  events: JobEvent[];
  /** How many events before those are left out. */
  earlier: number;
  /** The streamed text; of a very long one its end. */
  text: string;
  items: unknown[];
  /** Whether there is more text, or more items, than is shown. */
  isCut: boolean;
  over: boolean;
  failure: string | undefined;
}

export const NOTHING: Followed = { events: [], earlier: 0, text: "", items: [], isCut: false, over: false, failure: undefined };

interface Delta {
  seq: number;
  text: string;
  items: unknown[];
}

export class Output {
  #events: JobEvent[] = [];
  #count = 0;
  #deltas: Delta[] = [];
  #text = "";
  #items: unknown[] = [];

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
    this.#count += 1;
    this.#events.push(event);
    if (this.#events.length >= 2 * SHOWN_EVENTS) this.#events = this.#events.slice(-SHOWN_EVENTS);
  }

  view(): Pick<Followed, "events" | "earlier" | "text" | "items" | "isCut"> {
    const events = this.#events.slice(-SHOWN_EVENTS);
    return {
      events,
      earlier: this.#count - events.length,
      text: this.#text.slice(-SHOWN_CHARACTERS),
      items: this.#items.slice(-SHOWN_ITEMS),
      isCut: this.#text.length > SHOWN_CHARACTERS || this.#items.length > SHOWN_ITEMS,
    };
  }
}
