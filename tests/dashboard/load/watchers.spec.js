import { configuration, expect, test } from "../server.js";
import { cpuMs, flat, loudness, median, steady, Watcher } from "./load.js";

const WATCHERS = 10;
const PER_SECOND = 1_000;
const KEEP_A_MINUTE = { LONGHAUL__STORE__RETENTION: "1m" };

test("ten watchers at 1,000 jobs a second get little, and cost nothing that can be measured", async ({ own }) => {
  const server = await own(configuration(), KEEP_A_MINUTE);
  console.log(loudness());
  const stop = steady(server, PER_SECOND);
  const watchers = await Promise.all(Array.from({ length: WATCHERS }, () => Watcher.open(server)));
  const [seconds, begun] = [20, performance.now()];
  await new Promise((resume) => setTimeout(resume, seconds * 1_000));
  const took = (performance.now() - begun) / 1_000;
  const most = { messages: Math.max(...watchers.map((one) => one.messages)) / took, bytes: Math.max(...watchers.map((one) => one.bytes)) / took };
  const { perSecond, failed } = await stop();
  watchers.forEach((watcher) => watcher.close());
  console.log(`at ${perSecond} jobs/s (${failed} failed) each of ${WATCHERS} got at most ${most.messages.toFixed(2)} messages/s and ${(most.bytes / 1_000).toFixed(1)} kB/s`);
  expect(failed).toBe(0);
  expect(perSecond).toBeGreaterThan(PER_SECOND * 0.95);
  expect(most.messages).toBeLessThanOrEqual(5);
  expect(most.messages).toBeGreaterThan(0.5);
  expect(most.bytes).toBeLessThanOrEqual(50_000);

  // As fast as it goes, with and without them in turn, so that what else this machine does strikes both.
  const [without, with_] = [[], []];
  await flat(server, 2);
  for (let round = 0; round < 6; round += 1) {
    without.push(await flat(server, 4));
    const open = await Promise.all(Array.from({ length: WATCHERS }, () => Watcher.open(server)));
    with_.push(await flat(server, 4));
    open.forEach((watcher) => watcher.close());
  }
  const of = (rounds, name) => rounds.map((round) => round[name]);
  const ratio = median(with_.map((round, index) => round.perSecond / without[index].perSecond));
  const cpu = median(with_.map((round, index) => round.cpuMicrosPerJob / without[index].cpuMicrosPerJob));
  const spread = (numbers) => `${Math.round(Math.min(...numbers))} to ${Math.round(Math.max(...numbers))}, median ${Math.round(median(numbers))}`;
  console.log(`without watchers ${spread(of(without, "perSecond"))} jobs/s, ${spread(of(without, "cpuMicrosPerJob"))} µs of CPU a job`);
  console.log(`with them        ${spread(of(with_, "perSecond"))} jobs/s, ${spread(of(with_, "cpuMicrosPerJob"))} µs of CPU a job`);
  console.log(`median of pairs: ${ratio.toFixed(3)} of the throughput, ${cpu.toFixed(3)} of the CPU; ${loudness()}`);
  const noise = (Math.max(...of(without, "perSecond")) - Math.min(...of(without, "perSecond"))) / median(of(without, "perSecond"));
  expect(ratio).toBeGreaterThan(1 - Math.max(noise, 0.05));
});

test("figures cost the same with a hundred thousand jobs waiting as with none", async ({ own }) => {
  const server = await own(configuration());
  const cost = async () => {
    const before = cpuMs(server);
    for (let call = 0; call < 500; call += 1) await server.get("/v1/stats");
    return (cpuMs(server) - before) / 500;
  };
  await server.call("POST", "/v1/queues/held/pause");
  await cost();
  const none = await cost();
  for (let batch = 0; batch < 100; batch += 1) {
    await server.post("/v1/jobs/bulk", { jobs: Array.from({ length: 1_000 }, (_, index) => ({ kind: "echo", input: index, queue: "held" })) });
  }
  const many = await cost();
  const held = (await server.get("/v1/stats")).queues.find((queue) => queue.name === "held");
  console.log(`a GET /v1/stats takes ${none.toFixed(3)} ms of CPU, with 100,000 jobs waiting ${many.toFixed(3)} ms; the oldest has waited ${held.oldest_age_ms} ms`);
  expect(held.queued).toBe(100_000);
  expect(many).toBeLessThan(none * 2 + 0.2);
});
