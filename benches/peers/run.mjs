// Measures Longhaul and Fastify + BullMQ + Redis with the same driver, in turn, in one run.
//
// A machine is never quite quiet, so the contestants take turns (A B C A B C …) and medians are compared. The peer is
// given its best shape first: every way to place its worker is tried for a few seconds, and the fastest is kept.
// Everything that is started here is stopped here, by its process id.

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HELP = `Usage: ./run [options]

  --rounds N        how often each contestant is measured (default 3)
  --seconds N       how long each time, after the warm-up (default 20)
  --warm-up N       seconds before the figures count (default 5)
  --clients N       connections of the driver (default 64)
  --directory DIR   where the data lies; must be a real disk (default ${tmpdir()})
  --out FILE        writes everything as JSON
  --peers-only      leaves Longhaul out
  --no-tuning       takes the peer's usual shape (a worker process of its own) without trying others
`;

const HERE = dirname(fileURLToPath(import.meta.url));
const LONGHAUL = process.env.LONGHAUL_BIN;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '20' },
    'warm-up': { type: 'string', default: '5' },
    clients: { type: 'string', default: '64' },
    directory: { type: 'string', default: tmpdir() },
    out: { type: 'string' },
    'peers-only': { type: 'boolean', default: false },
    'no-tuning': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit(0);
}

/** How the peer can be laid out. The worker inside the server saves a process; outside it has a core to itself. */
const SHAPES = [
  { name: 'worker process, concurrency 256', inside: 0, outside: 1, concurrency: 256, pipelining: true },
  { name: 'worker process, concurrency 64', inside: 0, outside: 1, concurrency: 64, pipelining: true },
  { name: 'worker process, concurrency 64, no auto-pipelining', inside: 0, outside: 1, concurrency: 64, pipelining: false },
  { name: 'worker in the server, concurrency 256', inside: 1, outside: 0, concurrency: 256, pipelining: true },
  { name: 'worker in the server, concurrency 64', inside: 1, outside: 0, concurrency: 64, pipelining: true },
  { name: 'worker in the server, concurrency 64, no auto-pipelining', inside: 1, outside: 0, concurrency: 64, pipelining: false },
  { name: 'two worker processes, concurrency 64', inside: 0, outside: 2, concurrency: 64, pipelining: true },
];

const children = new Set();
const directories = new Set();

/** Starts a program; resolves once `ready` has appeared in its output. */
function start(command, args, { env = {}, ready } = {}) {
  const child = spawn(command, args, { cwd: HERE, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.ended = new Promise((resolve) => child.once('exit', resolve));
  child.ended.then(() => children.delete(child));
  return new Promise((resolve, reject) => {
    let output = '';
    const timer = setTimeout(() => reject(new Error(`${command} was not ready in 15 s:\n${output}`)), 15_000);
    const onData = (data) => {
      output = (output + data).slice(-10_000);
      const match = output.match(ready);
      if (match) {
        clearTimeout(timer);
        resolve([child, match]);
      }
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}:\n${output}`)));
  });
}

async function stop(child) {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await child.ended;
  clearTimeout(timer);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Runs the driver and returns its report. */
async function drive(args) {
  const child = spawn(LONGHAUL, ['bench', 'jobs', '--json', '--quiet', '--clients', options.clients, ...args], {
    cwd: HERE,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.add(child);
  child.ended = new Promise((resolve) => child.once('exit', resolve));
  let out = '';
  let err = '';
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (err += data));
  const code = await child.ended;
  children.delete(child);
  if (code !== 0) throw new Error(`the driver ended with ${code}:\n${err}${out}`);
  return JSON.parse(out);
}

const timing = (seconds, warmUp) => ['--for', `${seconds}s`, '--warm-up', `${warmUp}s`];

function longhaul(seconds, warmUp) {
  return drive(['--directory', options.directory, ...timing(seconds, warmUp)]);
}

/** A private Redis, the server and its workers, from start to stop. */
async function peer(appendfsync, shape, seconds, warmUp) {
  const directory = await mkdtemp(join(options.directory, 'longhaul-peer-'));
  directories.add(directory);
  const started = [];
  try {
    const port = await freePort();
    const redisArgs = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', ''];
    redisArgs.push('--appendonly', 'yes', '--appendfsync', appendfsync);
    const [redis] = await start('redis-server', redisArgs, { ready: /Ready to accept connections/ });
    started.push(redis);
    const env = {
      REDIS_PORT: String(port),
      CONCURRENCY: String(shape.concurrency),
      AUTO_PIPELINE: shape.pipelining ? '1' : '0',
      NODE_ENV: 'production',
    };
    const serverEnv = { ...env, WORKERS: String(shape.inside), PORT: '0' };
    const [server, match] = await start('node', ['server.mjs'], { env: serverEnv, ready: /listening on (http:\S+)/ });
    started.push(server);
    for (let n = 0; n < shape.outside; n += 1) {
      const [worker] = await start('node', ['worker.mjs'], { env, ready: /ready/ });
      started.push(worker);
    }
    const watch = started.flatMap((child) => ['--watch', String(child.pid)]);
    return await drive(['--target', match[1], '--no-check', ...watch, ...timing(seconds, warmUp)]);
  } finally {
    for (const child of started.reverse()) await stop(child);
    await rm(directory, { recursive: true, force: true });
    directories.delete(directory);
  }
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function summary(runs) {
  const of = (read) => median(runs.map(read));
  return {
    jobs_per_s: of((run) => run.jobs_per_s),
    submit_p50_ms: of((run) => run.submit.p50_ms),
    submit_p99_ms: of((run) => run.submit.p99_ms),
    end_to_end_p50_ms: of((run) => run.end_to_end.p50_ms),
    end_to_end_p99_ms: of((run) => run.end_to_end.p99_ms),
    server_cpu_us_per_job: of((run) => run.server_cpu_us_per_job),
    driver_cpu_us_per_job: of((run) => run.driver_cpu_us_per_job),
    server_peak_mib: of((run) => run.server_peak_bytes / 1_048_576),
  };
}

/** The peer's best shape, by jobs per second with every write synced. */
async function tune() {
  if (options['no-tuning']) return SHAPES[0];
  const tried = [];
  for (const shape of SHAPES) {
    const { jobs_per_s: rate } = await peer('always', shape, 5, 3);
    console.error(`tuning: ${Math.round(rate).toString().padStart(6)} jobs/s  ${shape.name}`);
    tried.push({ shape, rate });
  }
  tried.sort((a, b) => b.rate - a.rate);
  return tried[0].shape;
}

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) => row.map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[column])));
  return rows.map((row) => line(row).join('  ')).join('\n');
}

async function main() {
  if (!LONGHAUL) throw new Error('set LONGHAUL_BIN to the longhaul binary, or start this through ./run');
  const [rounds, seconds, warmUp] = [options.rounds, options.seconds, options['warm-up']].map(Number);
  const shape = await tune();
  console.error(`the peer runs as: ${shape.name}`);
  const contestants = {
    ...(options['peers-only'] ? {} : { longhaul: () => longhaul(seconds, warmUp) }),
    'bullmq, appendfsync always': () => peer('always', shape, seconds, warmUp),
    'bullmq, appendfsync no': () => peer('no', shape, seconds, warmUp),
  };
  const runs = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(contestants)) {
      const load = loadavg()[0];
      const run = await measure();
      runs[name].push({ ...run, load_before: load });
      console.error(
        `round ${round}: ${name.padEnd(28)} ${Math.round(run.jobs_per_s).toString().padStart(7)} jobs/s, ` +
          `submit p99 ${run.submit.p99_ms.toFixed(1)} ms (load ${load.toFixed(1)})`,
      );
    }
  }
  const summaries = Object.fromEntries(Object.entries(runs).map(([name, list]) => [name, summary(list)]));
  const rows = [['', 'jobs/s', 'submit p50', 'p99, ms', 'result p50', 'p99, ms', 'server CPU', 'driver CPU, µs', 'memory, MiB']];
  for (const [name, s] of Object.entries(summaries)) {
    const latencies = [s.submit_p50_ms, s.submit_p99_ms, s.end_to_end_p50_ms, s.end_to_end_p99_ms];
    const figures = [s.server_cpu_us_per_job, s.driver_cpu_us_per_job, s.server_peak_mib].map((n) => n.toFixed(0));
    rows.push([name, s.jobs_per_s.toFixed(0), ...latencies.map((ms) => ms.toFixed(1)), ...figures]);
  }
  console.log(table(rows));
  const ratios = {};
  if (runs.longhaul) {
    const ratioRows = [['longhaul to', 'jobs/s', 'by round', 'submit p99']];
    for (const [name, list] of Object.entries(runs)) {
      if (name === 'longhaul') continue;
      const ratio = {
        jobs_per_s: summaries.longhaul.jobs_per_s / summaries[name].jobs_per_s,
        by_round: median(list.map((run, round) => runs.longhaul[round].jobs_per_s / run.jobs_per_s)),
        submit_p99: summaries.longhaul.submit_p99_ms / summaries[name].submit_p99_ms,
      };
      ratios[name] = ratio;
      ratioRows.push([name, ...Object.values(ratio).map((number) => `${number.toFixed(2)} x`)]);
    }
    console.log(`\n${table(ratioRows)}`);
  }
  if (options.out) {
    const machine = { cpus: cpus().length, model: cpus()[0]?.model, node: process.version };
    const everything = { machine, rounds, seconds, clients: Number(options.clients), shape, summaries, ratios, runs };
    await writeFile(options.out, `${JSON.stringify(everything, null, 2)}\n`);
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await Promise.all([...children].map(stop));
    await Promise.all([...directories].map((directory) => rm(directory, { recursive: true, force: true })));
    process.exit(130);
  });
}
try {
  await main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  for (const child of [...children]) child.kill('SIGTERM');
}
