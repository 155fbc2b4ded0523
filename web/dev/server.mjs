// A small back end for developing: generated jobs and series over the real wire formats, and the built
// application (`dist`) with the headers of query/pages.py. `node dev/server.mjs [port]`; user demo, password demo.
// FAULT=… makes it misbehave: slow, empty, failing, frames.

import { createServer } from 'node:http';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeFrame } from './frame.mjs';
import { clusters, globalMetrics, makeJobs, series, unitsOf } from './jobs.mjs';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const port = Number(process.argv[2] ?? 8090);
const born = Math.floor(Date.now() / 1000);
const jobs = makeJobs(born);
let fault = process.env.FAULT ?? '';
const now = () => Math.floor(Date.now() / 1000);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const POLICY = "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'";

const text = (condition, value) => {
  const v = String(value);
  if (condition.eq !== undefined) return v === String(condition.eq);
  if (condition.neq !== undefined) return v !== String(condition.neq);
  if (condition.startsWith !== undefined) return v.startsWith(condition.startsWith);
  if (condition.contains !== undefined) return v.toLowerCase().includes(String(condition.contains).toLowerCase());
  if (condition.in !== undefined) return condition.in.map(String).includes(v);
  return true;
};
const range = ({ from, to }, v) => (from > 0 ? v >= from : true) && (to > 0 ? v <= to : true);
const RANGES = { last6h: 21600, last24h: 86400, last7d: 604800, last30d: 2592000 };
const TESTS = {
  cluster: (c, j) => text(c, j.cluster), subCluster: (c, j) => text(c, j.subCluster), partition: (c, j) => text(c, j.partition),
  user: (c, j) => text(c, j.user), project: (c, j) => text(c, j.project), jobId: (c, j) => text(c, j.jobId),
  jobName: (c, j) => text(c, j.metaData.jobName), state: (c, j) => c.includes(j.state), shared: (c, j) => j.shared === c,
  node: (c, j) => j.resources.some((r) => text(c, r.hostname)), dbId: (c, j) => c.map(String).includes(String(j.id)),
  arrayJobId: (c, j) => j.arrayJobId === c, duration: (c, j) => range(c, j.duration), numNodes: (c, j) => range(c, j.numNodes),
  numAccelerators: (c, j) => range(c, j.numAcc), numHWThreads: (c, j) => range(c, j.numHWThreads), energy: (c, j) => range(c, j.energy),
  tags: (c, j) => j.tags.some((t) => c.map(String).includes(String(t.id))),
  schedule: (c, j) => (j.metaData.jobName === 'interactive') === (c === 'interactive'),
  startTime: (c, j) => c.range ? j.start >= now() - RANGES[c.range] : (!c.from || j.start >= Date.parse(c.from) / 1000) && (!c.to || j.start <= Date.parse(c.to) / 1000),
  metricStats: (c, j) => c.every((s) => { const f = j.footprint.find((x) => `${x.name}_${x.stat}` === s.metricName); return f && range(s.range, f.value); }),
};
const matching = (filter) => jobs.filter((j) => filter.every((f) => Object.entries(f).every(([k, c]) => TESTS[k]?.(c, j) ?? true)));
const current = (j) => {
  const { start: _, profile: __, ...rest } = j;
  return { ...rest, duration: j.state === 'running' ? now() - j.start : j.duration };
};
const COLUMNS = { startTime: (j) => j.start, duration: (j) => j.duration, numNodes: (j) => j.numNodes, numHwthreads: (j) => j.numHWThreads, numAcc: (j) => j.numAcc, energy: (j) => j.energy };

function graphql({ query, variables: v }) {
  if (query.includes('query Catalog')) return { clusters, globalMetrics: globalMetrics() };
  if (query.includes('query Counts')) return Object.fromEntries(Object.keys(v).map((k) => ['n' + k.slice(1), { count: matching(v[k]).length }]));
  if (query.includes('query Jobs(')) {
    if (fault === 'empty') return { jobs: { items: [], count: 0, hasNextPage: false } };
    const found = matching(v.filter);
    const by = v.order.type === 'col' ? COLUMNS[v.order.field] : (j) => j.footprint.find((f) => `${f.name}_${f.stat}` === v.order.field)?.value ?? -1;
    if (!by) throw new Error(`no such column: job.${v.order.field}`);
    found.sort((a, b) => (by(a) - by(b)) * (v.order.order === 'ASC' ? 1 : -1));
    const { page, itemsPerPage: n } = v.page;
    return { jobs: { items: found.slice((page - 1) * n, page * n).map(current), count: found.length, hasNextPage: page * n < found.length } };
  }
  if (query.includes('query Beginnings(')) {
    return Object.fromEntries(Object.keys(v).filter((k) => k[0] === 'f').map((k) => {
      const i = k.slice(1);
      return ['n' + i, graphql({ query: 'query Jobs(', variables: { filter: v[k], order: v['o' + i], page: v['p' + i] } }).jobs];
    }));
  }
  if (query.includes('query Job(')) {
    const job = jobs.find((j) => String(j.id) === String(v.id));
    if (!job) return { job: null };
    return { job: current(job) };
  }
  throw new Error('the fixture does not know this operation');
}

function frame(job, p) {
  const sub = clusters.find((c) => c.name === job.cluster).subClusters.find((s) => s.name === job.subCluster);
  const end = job.state === 'running' ? now() : job.start + job.duration;
  const from = Number(p.get('from') ?? job.start);
  const to = Number(p.get('to') ?? end);
  const since = p.has('since') ? Number(p.get('since')) : null;
  const points = Number(p.get('points') ?? 600);
  const resolution = Number(p.get('resolution') ?? 0);
  const mode = p.get('statistics');
  const errors = [];
  const metrics = [];
  for (const name of p.getAll('metric')) {
    const m = sub.metricConfig.find((x) => x.name === name);
    if (!m) { errors.push(`${name}: not configured for ${job.cluster}/${job.subCluster}`); continue; }
    if (name === 'acc_processes') { errors.push(`${name}: no samples for this job`); continue; }
    let scope = p.get('scope') ?? 'node';
    const list = [];
    for (const { hostname } of job.resources) {
      const units = unitsOf(job, sub, scope, hostname);
      const per = scope === 'accelerator' ? sub.topology.accelerators.length : scope === 'node' ? 1 : (sub.topology[scope] ?? sub.topology.node).length;
      for (const id of units) list.push(series(job, sub, m, hostname, id, per, since ?? from, to, points, resolution, now()));
    }
    let spread = null;
    if (mode && list.length >= 3) {
      const n = Math.min(...list.map((s) => s.mean.length));
      const column = (i, pick) => list.map((s) => pick(s)[i]).filter((x) => !Number.isNaN(x)).sort((a, b) => a - b);
      const min = [], median = [], max = [];
      for (let i = 0; i < n; i++) {
        const c = column(i, (s) => s.mean);
        min.push(c.length ? Math.min(...column(i, (s) => s.min ?? s.mean)) : NaN);
        median.push(c.length ? c[c.length >> 1] : NaN);
        max.push(c.length ? Math.max(...column(i, (s) => s.max ?? s.mean)) : NaN);
      }
      spread = { start: list[0].start, step: list[0].step, min: { f4: min }, median: { f4: median }, max: { f4: max } };
    }
    metrics.push({
      name, scope, unit: m.unit, native_timestep: m.timestep,
      series: mode === 'only' && spread ? [] : list.map((s) => ({ ...s, mean: { f4: s.mean }, ...(s.min ? { min: { f4: s.min }, max: { f4: s.max } } : {}) })),
      ...(spread ? { statistics_series: spread } : {}),
    });
  }
  return encodeFrame({ now: Date.now() / 1000, from, to, next: Math.floor(end / 60) * 60 - 60, metrics, errors });
}

const settings = { plotConfiguration_plotsPerRow: 3, plotConfiguration_colorblindMode: false };

const server = createServer(async (request, answer) => {
  const url = new URL(request.url, 'http://x');
  const body = await new Promise((done) => { const parts = []; request.on('data', (d) => parts.push(d)); request.on('end', () => done(Buffer.concat(parts))); });
  const json = (status, value, headers = {}) => { answer.writeHead(status, { 'content-type': 'application/json', ...headers }); answer.end(JSON.stringify(value)); };
  const inside = /session=demo/.test(request.headers.cookie ?? '');
  if (url.pathname === '/fault') { fault = url.searchParams.get('is') ?? ''; return json(200, { fault }); }
  if (/^.login.?$/.test(url.pathname) && request.method === 'POST') {
    const form = new URLSearchParams(body.toString());
    if (form.get('password') !== 'demo') return json(401, { status: 'Unauthorized', error: 'Authentication failed' });
    return json(200, { username: form.get('username') }, { 'set-cookie': 'session=demo; Path=/; HttpOnly; SameSite=Lax' });
  }
  if (/^.logout.?$/.test(url.pathname)) return json(200, {}, { 'set-cookie': 'session=; Path=/; Max-Age=0' });
  if (url.pathname === '/frontend/me') return inside ? json(200, { username: 'demo', name: 'Demo User', roles: ['user', 'admin'], projects: [] }) : json(401, { status: 'Unauthorized', error: 'unauthorized' });
  if (url.pathname === '/query' || url.pathname.startsWith('/frontend/')) {
    if (!inside || fault === 'expired') return json(401, { error: 'unauthorized' });
    if (fault === 'slow') await wait(4000);
    if (url.pathname === '/query') {
      if (fault === 'failing') return json(503, { status: 'Service Unavailable', error: 'the job index cannot be read at the moment' });
      try { return json(200, { data: graphql(JSON.parse(body.toString())) }); } catch (error) { return json(200, { errors: [{ message: String(error.message) }], data: null }); }
    }
    if (url.pathname === '/frontend/configuration/') {
      if (request.method === 'GET') return json(200, settings);
      const form = new URLSearchParams(body.toString());
      settings[form.get('key')] = JSON.parse(form.get('value'));
      return json(200, 'success');
    }
    if (url.pathname === '/frontend/jobs/series') {
      url.searchParams.set('statistics', 'only');
      const parts = url.searchParams.getAll('id').flatMap((id) => {
        const row = jobs.find((j) => j.id === Number(id));
        if (!row) return [];
        const content = Buffer.from(fault === 'frames' ? encodeFrame({ now: 0, from: 0, to: 0, metrics: [], errors: ['the metric store does not answer'] }) : frame(row, url.searchParams));
        const prefix = Buffer.alloc(8);
        prefix.writeUInt32LE(row.id, 0);
        prefix.writeUInt32LE(content.length, 4);
        return [prefix, content];
      });
      answer.writeHead(200, { 'content-type': 'application/vnd.clustercockpit.frames' });
      return answer.end(Buffer.concat(parts));
    }
    const found = /^\/frontend\/job\/(\d+)\/series$/.exec(url.pathname);
    const job = found && jobs.find((j) => j.id === Number(found[1]));
    if (!job) return json(404, { error: 'no such job' });
    if (fault === 'frames') return json(503, { error: 'the metric store does not answer' });
    answer.writeHead(200, { 'content-type': 'application/vnd.clustercockpit.frame' });
    return answer.end(Buffer.from(frame(job, url.searchParams)));
  }
  const file = join(DIST, normalize(url.pathname).replace(/^(\.\.[/\\])+/, ''));
  const shell = join(DIST, 'index.html');
  const path = existsSync(file) && statSync(file).isFile() ? file : shell;
  answer.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', 'content-security-policy': POLICY });
  answer.end(readFileSync(path));
});
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port} (pid ${process.pid})`));
