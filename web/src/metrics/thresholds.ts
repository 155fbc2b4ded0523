// How a value is judged, and at which scale. Footprint levels, plot zones and badges all ask here, so that
// they cannot disagree.

import type { Job, MetricConfig, Scope, Statistic, SubCluster, Thresholds } from '../client/model';

/** `unrated`: the metric has no thresholds; `implausible`: above the peak or negative. */
export type Level = 'alert' | 'caution' | 'normal' | 'above' | 'implausible' | 'unrated';

/** Most serious first. */
export const LEVELS: readonly Level[] = ['alert', 'caution', 'implausible', 'normal', 'above', 'unrated'];

export const LEVEL_WORDS: Record<Level, string> = {
  alert: 'far from normal',
  caution: 'below expectation',
  normal: 'as expected',
  above: 'better than normal',
  implausible: 'implausible: beyond the peak',
  unrated: 'no thresholds configured',
};

export function isRated(thresholds: Thresholds): boolean {
  return thresholds.normal > 0 || thresholds.caution > 0 || thresholds.alert > 0;
}

export function levelOf(value: number, thresholds: Thresholds | undefined): Level {
  if (!thresholds || !Number.isFinite(value) || !isRated(thresholds)) return 'unrated';
  const { peak, normal, caution, alert, lowerIsBetter } = thresholds;
  if (value < 0 || (peak > 0 && value > peak)) return 'implausible';
  if (lowerIsBetter) {
    if (alert > 0 && value >= alert) return 'alert';
    if (caution > 0 && value >= caution) return 'caution';
    return 'normal';
  }
  if (value <= alert) return 'alert';
  if (value <= caution) return 'caution';
  return normal > 0 && value > normal ? 'above' : 'normal';
}

function multiplied(thresholds: Thresholds, factor: number): Thresholds {
  // Two significant digits, so that small thresholds (ipc, load per core) keep their meaning.
  const round = (value: number) => (value === 0 ? 0 : Number((value * factor).toPrecision(2)));
  return {
    peak: round(thresholds.peak),
    normal: round(thresholds.normal),
    caution: round(thresholds.caution),
    alert: round(thresholds.alert),
    lowerIsBetter: thresholds.lowerIsBetter,
  };
}

/** For a footprint value: a shared job's smallest and largest values are measured against its share of a node. */
export function footprintThresholds(
  config: MetricConfig,
  stat: Statistic,
  job: Pick<Job, 'shared' | 'numHWThreads'>,
  subCluster: SubCluster,
): Thresholds {
  const threads = threadsPerNode(subCluster);
  if (job.shared === 'none' || stat === 'avg' || threads === 0 || job.numHWThreads === 0) return config;
  return multiplied(config, job.numHWThreads / threads);
}

/** For a curve: thresholds of a summed metric are split over the units of the displayed scope in a node. */
export function seriesThresholds(config: MetricConfig, scope: Scope, subCluster: SubCluster): Thresholds {
  if (config.aggregation !== 'sum' || scope === 'node') return config;
  const units = unitsPerNode(subCluster, scope);
  return units > 1 ? multiplied(config, 1 / units) : config;
}

export function threadsPerNode(subCluster: SubCluster): number {
  return (
    subCluster.topology.node?.length ??
    subCluster.socketsPerNode * subCluster.coresPerSocket * subCluster.threadsPerCore
  );
}

export function unitsPerNode(subCluster: SubCluster, scope: Scope): number {
  const { topology } = subCluster;
  switch (scope) {
    case 'node':
      return 1;
    case 'socket':
      return topology.socket?.length ?? subCluster.socketsPerNode;
    case 'memoryDomain':
      return topology.memoryDomain?.length ?? 1;
    case 'core':
      return topology.core?.length ?? subCluster.socketsPerNode * subCluster.coresPerSocket;
    case 'hwthread':
      return threadsPerNode(subCluster);
    case 'accelerator':
      return topology.accelerators?.length ?? 1;
  }
}
