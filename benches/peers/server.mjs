// The peer's HTTP front: Fastify takes a job in, BullMQ keeps it in Redis, a request waits for its end.
//
// Built as a team that knows these tools would build it for speed:
// - schemas compiled for serialisation, logging off, one Redis connection for commands (ioredis pipelines what is
//   issued in one tick) and one for events;
// - a waiting request registers for the completion first and reads the job once, so that neither order of events is
//   missed and nothing is polled;
// - the result travels with the completion event, so a job that ends while its client waits is read once.
//
// Environment: PORT (0 takes a free one), REDIS_PORT, WORKERS (how many run inside this process; 0 leaves the work to
// worker.mjs), CONCURRENCY. Prints `listening on http://127.0.0.1:PORT` once it is ready.

import Fastify from 'fastify';
import { Queue, QueueEvents } from 'bullmq';
import { connection, QUEUE, startWorker } from './worker.mjs';

const MAX_WAIT_S = 60;

const queue = new Queue(QUEUE, { connection: connection() });
const events = new QueueEvents(QUEUE, { connection: connection() });
await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);

/** Requests that wait, by job. Several may wait for one job. */
const waiting = new Map();

function settle(jobId, outcome) {
  const waiters = waiting.get(jobId);
  if (waiters === undefined) return;
  waiting.delete(jobId);
  for (const resolve of waiters) resolve(outcome);
}
events.on('completed', ({ jobId, returnvalue }) => settle(jobId, { status: 'succeeded', output: returnvalue }));
events.on('failed', ({ jobId, failedReason }) => settle(jobId, { status: 'failed', error: failedReason }));

/** Resolves when the job ends, or with nothing after the given time. */
function ending(jobId, seconds) {
  let cancel;
  const promise = new Promise((resolve) => {
    const waiters = waiting.get(jobId);
    if (waiters === undefined) waiting.set(jobId, [resolve]);
    else waiters.push(resolve);
    const timer = setTimeout(() => cancel(), seconds * 1000);
    cancel = () => {
      clearTimeout(timer);
      const left = (waiting.get(jobId) ?? []).filter((other) => other !== resolve);
      if (left.length === 0) waiting.delete(jobId);
      else waiting.set(jobId, left);
      resolve(undefined);
    };
  });
  return [promise, cancel];
}

const app = Fastify({ logger: false });

app.post(
  '/v1/jobs',
  {
    schema: {
      body: {
        type: 'object',
        required: ['kind', 'input'],
        properties: { kind: { type: 'string', enum: ['echo'] }, input: { type: 'object' } },
      },
      response: {
        202: { type: 'object', properties: { job_id: { type: 'string' }, status: { type: 'string' } } },
      },
    },
  },
  async (request, reply) => {
    const { kind, input } = request.body;
    const job = await queue.add(kind, input, {
      attempts: 5,
      backoff: { type: 'exponential', delay: 1000 },
      // As in production: ended jobs are kept for a while, and bounded, so that Redis does not grow without end.
      removeOnComplete: { age: 60, count: 100_000 },
      removeOnFail: { age: 3600, count: 100_000 },
    });
    reply.code(202);
    return { job_id: job.id, status: 'queued' };
  },
);

app.get('/v1/jobs/:id', async (request, reply) => {
  const { id } = request.params;
  const seconds = Math.min(Number(request.query.wait ?? 0) || 0, MAX_WAIT_S);
  const [ended, cancel] = ending(id, seconds || 1);
  const job = await queue.getJob(id);
  if (job === undefined) {
    cancel();
    reply.code(404);
    return { title: 'Not Found', status: 404 };
  }
  let status = 'queued';
  let output = null;
  let error = null;
  let attempt = job.attemptsMade;
  if (job.finishedOn !== undefined || seconds === 0) {
    cancel();
    if (job.finishedOn !== undefined) {
      status = job.failedReason ? 'failed' : 'succeeded';
      output = job.returnvalue;
      error = job.failedReason ?? null;
    }
  } else {
    const outcome = await ended;
    cancel();
    if (outcome !== undefined) {
      ({ status, output = null, error = null } = outcome);
      attempt += 1;
      if (typeof output === 'string') output = JSON.parse(output);
    }
  }
  return { job_id: id, kind: job.name, status, attempt, input: job.data, output, error };
});

const workers = Number(process.env.WORKERS ?? 0);
for (let n = 0; n < workers; n += 1) await startWorker();

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0) });
console.log(`listening on http://127.0.0.1:${app.server.address().port}`);
