// Which running jobs are worth a look now: those whose footprint is furthest from what their hardware gives.

import type { JobQuestion } from '../client/client';
import type { Cluster, Job, SubCluster } from '../client/model';
import { footprintBars, type FootprintBar } from './footprint';

/** A job that has just begun says little. */
const SETTLED = 300;
/** Of each cluster the first so many metrics that jobs are judged by, so that one request stays small. */
const METRICS = 3;

/** Per cluster and metric the running jobs at its bad end. `statistics` names a metric's footprint kind. */
export function noticeableQuestions(clusters: Cluster[], statistics: (metric: string) => string, size: number): JobQuestion[] {
  return clusters.flatMap((cluster) => {
    const rated = new Map(
      cluster.subClusters.flatMap((sub) =>
        sub.metricConfig.filter((metric) => sub.footprint.includes(metric.name) && (metric.alert > 0 || metric.caution > 0)).map((metric) => [metric.name, metric] as const),
      ),
    );
    return [...rated.values()].slice(0, METRICS).map(
      (metric): JobQuestion => ({
        filter: [{ cluster: { eq: cluster.name } }, { state: ['running'] }, { duration: { from: SETTLED, to: 10_000_000 } }],
        order: { field: `${metric.name}_${statistics(metric.name) || 'avg'}`, type: 'foot', order: metric.lowerIsBetter ? 'DESC' : 'ASC' },
        size,
      }),
    );
  });
}

/** The worst first, each job once, with what is wrong with it. */
export function noticeable(jobs: Job[], subCluster: (job: Job) => SubCluster | undefined, most: number): { jobs: Job[]; findings: Map<number, FootprintBar[]> } {
  const findings = new Map<number, FootprintBar[]>();
  const once = new Map(jobs.map((job) => [job.id, job]));
  const weight = (job: Job) => findings.get(job.id)!.reduce((sum, bar) => sum + (bar.level === 'alert' ? 10 : 1), 0) * Math.log2(2 + job.numNodes + job.numAcc);
  for (const job of once.values()) {
    const bars = footprintBars(job, subCluster(job)).filter((bar) => bar.level === 'alert' || bar.level === 'caution');
    if (bars.length > 0) findings.set(job.id, bars);
  }
  const worst = [...once.values()].filter((job) => findings.has(job.id)).sort((a, b) => weight(b) - weight(a) || b.startTime - a.startTime);
  return { jobs: worst.slice(0, most), findings };
}

export interface Folded {
  jobs: Job[];
  /** By the id of the one that is shown: how many more there are of its array. */
  others: Map<number, number>;
}

/** One line for the jobs of an array: a hundred failed tasks of one do not hide what else failed. */
export function folded(jobs: Job[], most: number): Folded {
  const first = new Map<string, Job>();
  const others = new Map<number, number>();
  for (const job of jobs) {
    const key = job.arrayJobId ? `${job.cluster} ${job.arrayJobId}` : `id ${job.id}`;
    const shown = first.get(key);
    if (shown) others.set(shown.id, (others.get(shown.id) ?? 0) + 1);
    else first.set(key, job);
  }
  return { jobs: [...first.values()].slice(0, most), others };
}
