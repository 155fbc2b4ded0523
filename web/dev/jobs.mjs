// Generated clusters, jobs and series for developing and looking at views without a back end.
// Never part of a build. Same seed, same site.

import { readFileSync } from 'node:fs';

const HERE = new URL('../../infra/local/simulator/clusters/', import.meta.url);

export function hash(...parts) {
  let h = 2166136261;
  for (const char of parts.join('|')) h = Math.imul(h ^ char.charCodeAt(0), 16777619);
  h = Math.imul(h ^ (h >>> 15), 2246822507);
  h = Math.imul(h ^ (h >>> 13), 3266489909);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

function expand(list) {
  const found = /^(.*)\[(\d+)-(\d+)\]$/.exec(list);
  if (!found) return [list];
  const [, stem, from, to] = found;
  return Array.from({ length: to - from + 1 }, (_, i) => stem + String(Number(from) + i).padStart(from.length, '0'));
}

function cluster(name) {
  const raw = JSON.parse(readFileSync(new URL(`${name}.json`, HERE), 'utf8'));
  const metric = (m, sub) => {
    const o = (m.subClusters ?? []).find((s) => s.name === sub) ?? {};
    return {
      name: m.name,
      unit: { base: m.unit?.base ?? '', prefix: m.unit?.prefix ?? '' },
      scope: m.scope,
      aggregation: m.aggregation ?? '',
      timestep: m.timestep,
      peak: o.peak ?? m.peak ?? 0,
      normal: o.normal ?? m.normal ?? 0,
      caution: o.caution ?? m.caution ?? 0,
      alert: o.alert ?? m.alert ?? 0,
      lowerIsBetter: o.lowerIsBetter ?? m.lowerIsBetter ?? false,
      footprint: o.footprint ?? m.footprint ?? '',
      remove: o.remove ?? false,
    };
  };
  const topology = (t) => ({
    node: t.node ?? null,
    socket: t.socket ?? null,
    memoryDomain: t.memoryDomain ?? null,
    core: t.core ?? null,
    accelerators: t.accelerators?.map(({ id }) => ({ id })) ?? null,
  });
  return {
    name: raw.name ?? name,
    partitions: ['work', 'devel'],
    subClusters: raw.subClusters.map((s) => {
      const metrics = raw.metricConfig.map((m) => metric(m, s.name)).filter((m) => !m.remove);
      return {
        ...s,
        numberOfNodes: expand(s.nodes).length,
        topology: topology(s.topology),
        metricConfig: metrics,
        footprint: metrics.filter((m) => m.footprint).map((m) => m.name),
      };
    }),
  };
}

export const clusters = [cluster('kestrel'), cluster('heron')];

export function globalMetrics() {
  const all = new Map();
  for (const c of clusters)
    for (const s of c.subClusters)
      for (const m of s.metricConfig) {
        const item = all.get(m.name) ?? { name: m.name, scope: m.scope, footprint: m.footprint, unit: m.unit, availability: [] };
        let support = item.availability.find((a) => a.cluster === c.name);
        if (!support) item.availability.push((support = { cluster: c.name, subClusters: [] }));
        support.subClusters.push(s.name);
        all.set(m.name, item);
      }
  return [...all.values()];
}

const USERS = [
  ['mvogel', 'Marlene Vogel', 'chem42'],
  ['tkurz', 'Timo Kurz', 'chem42'],
  ['aoyelaran', 'Adaeze Oyelaran', 'climate7'],
  ['jlind', 'Jonas Lindqvist', 'climate7'],
  ['sferrari', 'Silvia Ferrari', 'qcd01'],
  ['demo', 'Demo User', 'demo'],
  ['pnakamura', 'Paul Nakamura', 'mlgroup'],
  ['hbecker', 'Hanna Becker', 'mlgroup'],
];
const NAMES = ['gromacs-membrane', 'icon-r2b9-ensemble', 'chroma-hmc', 'train-vit-l16', 'openfoam-wing', 'cp2k-water-512', 'lammps-polymer-melt', 'finetune-llm-lora', 'amber-screening', 'interactive'];
const PROFILES = ['healthy', 'healthy', 'healthy', 'phases', 'memory', 'slow', 'idle', 'gaps', 'imbalance'];
const ENDS = ['completed', 'completed', 'completed', 'completed', 'completed', 'failed', 'timeout', 'cancelled', 'out_of_memory', 'node_fail'];

export function makeJobs(now, count = 420) {
  const jobs = [];
  for (let i = 0; i < count; i++) {
    const r = (what) => hash(i, what);
    const gpu = r('c') < 0.38;
    const c = clusters[gpu ? 1 : 0];
    const sub = c.subClusters[Math.floor(r('s') * 1.15 * c.subClusters.length) % c.subClusters.length];
    const hosts = expand(sub.nodes);
    const running = i < 34;
    const wide = r('w');
    const nodes = Math.min(hosts.length, gpu ? [1, 1, 1, 2, 4][Math.floor(wide * 5)] : [1, 1, 2, 4, 8, 12, 20][Math.floor(wide * 7)]);
    const walltime = [1, 4, 8, 12, 24][Math.floor(r('t') * 5)] * 3600;
    const duration = Math.round(walltime * (running ? 0.03 + 0.9 * r('d') : 0.05 + 0.93 * r('d')) * (r('x') < 0.08 ? 0.01 : 1)) + 40;
    const start = running ? now - duration : now - 3600 - Math.round(r('a') * 6 * 86400) - duration;
    const shared = gpu && nodes === 1 && r('h') < 0.5;
    const first = Math.floor(r('n') * (hosts.length - nodes + 1));
    const [user, userName, project] = USERS[Math.floor(r('u') * USERS.length)];
    const perNode = sub.topology.node.length;
    const gpus = gpu ? (shared ? 1 + Math.floor(r('g') * 3) : sub.topology.accelerators.length) : 0;
    const state = running ? 'running' : ENDS[Math.floor(r('e') * ENDS.length)];
    const threads = shared ? gpus * 16 : perNode;
    const profile = PROFILES[Math.floor(r('p') * PROFILES.length)];
    const job = {
      id: 1000 + i,
      jobId: 4711000 + ((i * 37) % 5000),
      user,
      project,
      cluster: c.name,
      subCluster: sub.name,
      partition: nodes > 8 ? 'work' : 'devel',
      arrayJobId: r('y') < 0.06 ? 4711000 : 0,
      startTime: new Date(start * 1000).toISOString(),
      start,
      duration,
      walltime,
      numNodes: nodes,
      numHWThreads: threads * nodes,
      numAcc: gpus * nodes,
      energy: running ? 0 : (duration / 3600) * nodes * (gpu ? 2.2 : 0.5),
      SMT: 1,
      shared: shared ? 'multi_user' : 'none',
      monitoringStatus: running ? 1 : r('m') < 0.03 ? 2 : 3,
      state,
      profile,
      tags: r('z') < 0.15 ? [{ id: 1, type: 'app', name: 'gromacs', scope: 'global' }] : [],
      resources: hosts.slice(first, first + nodes).map((hostname) => ({
        hostname,
        hwthreads: shared ? Array.from({ length: threads }, (_, k) => k) : null,
        accelerators: gpu ? sub.topology.accelerators.slice(0, gpus).map((a) => a.id) : null,
      })),
      userData: { name: userName, email: `${user}@example.org` },
      get jobName() { return this.metaData.jobName; },
      get message() { return this.metaData.message; },
      metaData: {
        jobName: NAMES[Math.floor(r('q') * NAMES.length)],
        message: profile === 'idle' && r('msg') < 0.5 ? 'Half of the accelerators were idle for most of the run.\nCheck that each rank is bound to a device of its own.' : '',
        jobScript: `#!/bin/bash -l\n#SBATCH --nodes=${nodes}\n#SBATCH --time=${walltime / 3600}:00:00\n#SBATCH --export=NONE\n\nmodule load gromacs/2026.1\nsrun gmx_mpi mdrun -deffnm topol -maxh ${walltime / 3600 - 0.2}\n`,
        slurmInfo: `JobId=${4711000 + i} JobName=run\n   UserId=${user} Account=${project} QOS=normal\n   NumNodes=${nodes} TimeLimit=${walltime / 3600}:00:00\n   TRES=cpu=${threads * nodes},node=${nodes}\n`,
      },
      energyFootprint: running ? [] : [{ hardware: 'CPU', metric: 'cpu_power', value: (duration / 3600) * nodes * 0.4 }],
      concurrentJobs: shared ? { items: [{ id: '1003', jobId: 4711111 }], listQuery: 'cluster=heron&jobId=4711111' } : null,
    };
    job.footprint = sub.metricConfig.filter((m) => m.footprint).map((m) => {
      const series = hostSeries(job, sub, m, now, 40);
      const all = series.flatMap((s) => s.mean).filter((v) => !Number.isNaN(v));
      const value = m.footprint === 'max' ? Math.max(...all) : m.footprint === 'min' ? Math.min(...all) : all.reduce((a, b) => a + b, 0) / all.length;
      return { name: m.name, stat: m.footprint, value: Number.isFinite(value) ? value : 0 };
    });
    jobs.push(job);
  }
  return jobs.sort((a, b) => b.start - a.start);
}

/** One sample; t in seconds since the job began. NaN: not measured. */
export function sample(job, sub, m, host, unit, units, t) {
  const h = job.resources.findIndex((r) => r.hostname === host);
  const { profile } = job;
  if (profile === 'gaps' && t > job.duration * 0.4 && t < job.duration * 0.47 && (h === 0 || job.numNodes < 3)) return NaN;
  const noise = hash(job.id, m.name, host, unit, Math.floor(t / m.timestep)) - 0.5;
  const slow = hash(job.id, m.name, host, unit, 'bias') - 0.5;
  const target = (0.55 + 0.5 * hash(job.id, m.name, 'level')) * (m.normal || m.peak / 2);
  let v = target * (m.aggregation === 'sum' && units > 1 ? 1 / units : 1);
  const warm = Math.min(1, t / 240);
  if (m.name.startsWith('mem_used') || m.name === 'acc_mem_used') {
    v = profile === 'memory' && m.name === 'mem_used' ? m.peak * (0.1 + 0.82 * (t / Math.max(job.walltime * 0.8, 1))) : v * (0.35 + 0.65 * Math.min(1, t / 900));
    return Math.max(0, v * (1 + 0.01 * noise + 0.06 * slow));
  }
  const wave = profile === 'phases' ? (t % 2700 < 620 ? 0.18 : 1.05) : 1 + 0.05 * Math.sin(t / 400 + slow * 3);
  v *= warm * wave * (1 + 0.16 * noise + 0.1 * slow);
  if (profile === 'slow' && h === Math.min(2, job.numNodes - 1)) v *= 0.55;
  if (profile === 'imbalance') v *= 0.35 + 1.1 * hash(job.id, host, unit, 'share');
  if (profile === 'idle' && (m.scope === 'accelerator' ? Number(hash(job.id, unit, 'idle') < 0.5) : 0)) v *= 0.02;
  if (/file_|ib_/.test(m.name)) v = noise > 0.42 ? v * 3 : v * 0.25;
  if (m.name === 'cpu_load') v = job.numHWThreads / job.numNodes * (profile === 'idle' ? 0.2 : 1) * (1 + 0.02 * noise) * warm;
  return Math.max(0, m.peak ? Math.min(v, m.peak) : v);
}

/** Unit ids of a scope on a node of the job. */
export function unitsOf(job, sub, scope, host) {
  if (scope === 'node') return [null];
  const resource = job.resources.find((r) => r.hostname === host);
  if (scope === 'accelerator') return resource.accelerators ?? [];
  const groups = scope === 'hwthread' ? sub.topology.node.map((t) => [t]) : sub.topology[scope];
  const mine = resource.hwthreads ? new Set(resource.hwthreads) : null;
  return groups.map((g, i) => [g, i]).filter(([g]) => !mine || g.some((t) => mine.has(t))).map(([, i]) => String(i));
}

/** Node-scope series resampled to at most `points` values. */
function hostSeries(job, sub, m, now, points) {
  return job.resources.map(({ hostname }) => series(job, sub, m, hostname, null, 1, job.start, job.start + job.duration, points, 0, now));
}

/** One series as in the frame, values plain. */
export function series(job, sub, m, host, unit, units, from, to, points, resolution, now) {
  const end = Math.min(to, job.start + (job.state === 'running' ? now - job.start : job.duration), now);
  const f = m.timestep;
  const k = resolution ? Math.max(1, Math.ceil(resolution / f)) : Math.max(1, Math.ceil((to - from) / f / points));
  const width = k * f;
  const begin = Math.floor(Math.max(from, job.start) / width) * width;
  const mean = [], min = [], max = [];
  let sum = 0, n = 0, lo = Infinity, hi = -Infinity;
  for (let b = begin; b < end; b += width) {
    let s = 0, c = 0, low = Infinity, high = -Infinity;
    // Enough samples to look right; a fixture need not be exact.
    const stride = Math.max(1, Math.floor(k / 12));
    for (let j = 0; j < k; j += stride) {
      const t = b + j * f;
      if (t < job.start || t >= end) continue;
      const v = sample(job, sub, m, host, unit, units, t - job.start);
      if (Number.isNaN(v)) continue;
      s += v; c++;
      if (v < low) low = v;
      if (v > high) high = v;
    }
    mean.push(c ? s / c : NaN);
    min.push(c ? low : NaN);
    max.push(c ? high : NaN);
    if (c) { sum += s; n += c; lo = Math.min(lo, low); hi = Math.max(hi, high); }
  }
  return {
    hostname: host,
    id: unit,
    statistics: n ? { avg: sum / n, min: lo, max: hi } : null,
    start: begin + ((k - 1) / 2) * f,
    step: width,
    mean,
    ...(k > 1 ? { min, max } : {}),
  };
}
