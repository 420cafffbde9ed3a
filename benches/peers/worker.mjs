// The peer's worker: takes jobs from the queue and gives back what it is given.
//
// Run on its own (`node worker.mjs`) it is a process of its own, as BullMQ is mostly deployed; the server can also
// start it inside itself. Environment: REDIS_PORT, CONCURRENCY.

import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { Worker } from 'bullmq';

export const QUEUE = 'jobs';

export function connection() {
  return new Redis({
    host: '127.0.0.1',
    port: Number(process.env.REDIS_PORT),
    maxRetriesPerRequest: null,
    enableAutoPipelining: process.env.AUTO_PIPELINE !== '0',
  });
}

export async function startWorker() {
  const worker = new Worker(QUEUE, async (job) => job.data, {
    connection: connection(),
    concurrency: Number(process.env.CONCURRENCY ?? 256),
  });
  worker.on('error', (error) => console.error(error));
  await worker.waitUntilReady();
  return worker;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await startWorker();
  console.log('ready');
}
