// The same jobs on graphile-worker, set up as its documentation advises for many short ones: a local queue, and
// completions in batches. Prints the same report as relais-bench-jobs.
"use strict";

const { Logger, makeWorkerUtils, run } = require("graphile-worker");
const { Pool } = require("pg");

const [connectionString, jobsText, workersText, way, sizeText] = process.argv.slice(2);
const [jobs, workers, size] = [jobsText, workersText, sizeText].map(Number);
const silent = new Logger(() => () => {});
const payload = (number) => ({ number, to: "somebody@example.com", subject: "Facture 2026-0042" });

async function enqueueBatches(utils) {
  for (let first = 0; first < jobs; first += size) {
    const count = Math.min(size, jobs - first);
    await utils.addJobs(Array.from({ length: count }, (_, n) => ({ identifier: "bench", payload: payload(first + n) })));
  }
}

async function enqueueSingly(utils) {
  let next = 0;
  const enqueue = async () => {
    while (next < jobs) await utils.addJob("bench", payload(next++));
  };
  await Promise.all(Array.from({ length: size }, enqueue));
}

async function main() {
  const pgPool = new Pool({ connectionString, max: Math.max(20, workers + 2) });
  pgPool.on("error", () => {});
  const utils = await makeWorkerUtils({ pgPool, logger: silent });
  await utils.migrate();
  let ran = 0;
  let finished;
  const all = new Promise((resolve) => (finished = resolve));
  const bench = async () => {
    if (++ran === jobs) finished();
  };
  const worker = { concurrentJobs: workers, pollInterval: 1000, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
  const runner = await run({ pgPool, logger: silent, noHandleSignals: true, taskList: { bench }, preset: { worker } });
  const started = process.hrtime.bigint();
  const passed = () => Number(process.hrtime.bigint() - started) / 1e9;
  await (way === "batch" ? enqueueBatches(utils) : enqueueSingly(utils));
  const enqueued = passed();
  await all;
  await runner.stop();
  const total = passed();
  const { rows } = await pgPool.query("SELECT count(*)::int AS left FROM graphile_worker._private_jobs");
  if (rows[0].left !== 0) throw new Error(`${rows[0].left} jobs are left`);
  await utils.release();
  await pgPool.end();
  console.log(JSON.stringify({ jobs, enqueue_s: enqueued, total_s: total, per_s: jobs / total }));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
