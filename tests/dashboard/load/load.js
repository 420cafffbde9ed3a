/** A load of so many jobs a second, and watchers that count what they are sent, byte by byte. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { connect } from "node:net";

const BATCH_MS = 50;

export const jobs = (count) => Array.from({ length: count }, (_, index) => ({ kind: "echo", input: { index } }));

/** Submits at a steady rate until told to stop, whatever the answers take; says then how many were accepted. */
export function steady(server, perSecond) {
  const body = { jobs: jobs(Math.round((perSecond * BATCH_MS) / 1_000)) };
  const begun = performance.now();
  let [sent, accepted, failed] = [0, 0, 0];
  const under = new Set();
  const timer = setInterval(() => {
    // As many as are due by now: a timer that was late is made up for.
    for (; sent * BATCH_MS <= performance.now() - begun; sent += 1) {
      const call = server.post("/v1/jobs/bulk", body).then(() => (accepted += body.jobs.length), () => (failed += 1)).finally(() => under.delete(call));
      under.add(call);
    }
  }, BATCH_MS / 2);
  return async () => {
    clearInterval(timer);
    await Promise.all(under);
    return { accepted, failed, perSecond: Math.round(accepted / ((performance.now() - begun) / 1_000)) };
  };
}

/** Submits as fast as answers come, for so long, and waits until all are done: jobs a second, and the CPU they took. */
export async function flat(server, seconds) {
  const body = { jobs: jobs(100) };
  const [begun, cpu] = [performance.now(), cpuMs(server)];
  let accepted = 0;
  const submit = async () => {
    while (performance.now() - begun < seconds * 1_000) {
      await server.post("/v1/jobs/bulk", body);
      accepted += body.jobs.length;
    }
  };
  await Promise.all(Array.from({ length: 8 }, submit));
  await drained(server);
  const took = (performance.now() - begun) / 1_000;
  return { perSecond: accepted / took, cpuMicrosPerJob: ((cpuMs(server) - cpu) * 1_000) / accepted };
}

/** Waits until nothing is queued or runs. */
export async function drained(server) {
  for (;;) {
    const { data } = await server.get("/v1/queues");
    if (data.every((queue) => queue.queued + queue.running === 0)) return;
    await new Promise((resume) => setTimeout(resume, 20));
  }
}

/** Processor time of the server so far, in milliseconds (Linux). */
export function cpuMs(server) {
  const fields = readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Someone who watches the figures, on a bare socket: what is counted is what the network carries. */
export class Watcher {
  messages = 0;
  bytes = 0;
  #rest = Buffer.alloc(0);
  #socket;

  static async open(server) {
    const watcher = new Watcher();
    const { hostname, port, host } = new URL(server.url);
    watcher.#socket = connect(Number(port), hostname);
    const head = ["GET /v1/events/ws HTTP/1.1", `Host: ${host}`, "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`, "Sec-WebSocket-Version: 13"];
    watcher.#socket.write(`${head.join("\r\n")}\r\n\r\n`);
    await new Promise((resolve, reject) => {
      watcher.#socket.once("error", reject);
      let answer = "";
      const hear = (bytes) => {
        answer += bytes.toString("latin1");
        if (!answer.includes("\r\n\r\n")) return;
        watcher.#socket.off("data", hear);
        if (!answer.startsWith("HTTP/1.1 101")) return reject(new Error(answer));
        watcher.#socket.on("data", (more) => watcher.#hear(more));
        resolve();
      };
      watcher.#socket.on("data", hear);
    });
    watcher.#say('{"op":"subscribe","topic":"stats"}', 0x81);
    return watcher;
  }

  close() {
    this.#socket.destroy();
  }

  #say(text, kind) {
    const mask = randomBytes(4);
    const payload = Buffer.from(text).map((byte, index) => byte ^ mask[index % 4]);
    this.#socket.write(Buffer.concat([Buffer.from([kind, 0x80 | payload.length]), mask, payload]));
  }

  #hear(bytes) {
    this.bytes += bytes.length;
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const frame = this.#rest;
      if (frame.length < 2) return;
      const short = frame[1] & 0x7f;
      const head = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (frame.length < head) return;
      const length = short < 126 ? short : short === 126 ? frame.readUInt16BE(2) : Number(frame.readBigUInt64BE(2));
      if (frame.length < head + length) return;
      const kind = frame[0] & 0x0f;
      if (kind === 1) this.messages += 1;
      if (kind === 9) this.#say("", 0x8a);
      this.#rest = frame.subarray(head + length);
    }
  }
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** How busy the machine is with everything: figures from a loud one say little. */
export function loudness() {
  return `load average ${loadavg().map((load) => load.toFixed(1)).join(" ")}`;
}

/** Tasks of the page that take longer than 50 ms, as the browser reports them. */
export async function watchTasks(page) {
  await page.addInitScript(() => {
    window.longTasks = [];
    new PerformanceObserver((list) => {
      for (const task of list.getEntries()) window.longTasks.push({ at: Math.round(task.startTime), ms: Math.round(task.duration) });
    }).observe({ type: "longtask", buffered: true });
  });
}

export const tasks = (page) => page.evaluate(() => window.longTasks);

/** The JavaScript heap after a collection, in bytes. */
export async function heap(session) {
  await session.send("HeapProfiler.collectGarbage");
  return (await session.send("Runtime.getHeapUsage")).usedSize;
}
