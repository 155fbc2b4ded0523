// A job's footprint, judged: what the list shows in brief and the job view in full.

import type { Catalog, FootprintValue, Job, Statistic, SubCluster, Thresholds, Unit } from '../client/model';
import { LEVELS, footprintThresholds, isRated, levelOf, type Level } from '../metrics/thresholds';

export interface FootprintBar {
  name: string;
  stat: string;
  value: number;
  unit: Unit;
  thresholds: Thresholds | undefined;
  level: Level;
  /** Of the bar's length, 0 to 1; undefined without a peak. */
  share: number | undefined;
  /** Where caution, alert and normal stand on the bar. */
  ticks: { at: number; what: 'alert' | 'caution' | 'normal' }[];
}

/**
 * What a running job's footprint is so far, from statistics per node: mean of averages, smallest, largest.
 * Stored footprints come later.
 */
export function footprintSoFar(
  subCluster: SubCluster,
  catalog: Catalog,
  statistics: (metric: string) => { avg: number; min: number; max: number } | undefined,
): FootprintValue[] {
  return subCluster.footprint.flatMap((name) => {
    const stat = (catalog.metrics.find((metric) => metric.name === name)?.footprint || 'avg') as Statistic;
    const value = statistics(name)?.[stat];
    return value === undefined || !Number.isFinite(value) ? [] : [{ name, stat, value }];
  });
}

/** Most serious first, then in the order of the cluster's document. */
export function footprintBars(job: Job, subCluster: SubCluster | undefined, values = job.footprint): FootprintBar[] {
  const order = new Map(subCluster?.footprint.map((name, i) => [name, i]));
  return values
    .map(({ name, stat, value }): FootprintBar => {
      const config = subCluster?.metricConfig.find((metric) => metric.name === name);
      const thresholds = config && subCluster ? footprintThresholds(config, stat, job, subCluster) : undefined;
      const peak = thresholds?.peak ?? 0;
      const ticks =
        thresholds && peak > 0 && isRated(thresholds)
          ? (['alert', 'caution', 'normal'] as const)
              .filter((what) => thresholds[what] > 0 && thresholds[what] < peak)
              .map((what) => ({ at: thresholds[what] / peak, what }))
          : [];
      return {
        name,
        stat,
        value,
        unit: config?.unit ?? { base: '', prefix: '' },
        thresholds,
        level: levelOf(value, thresholds),
        share: peak > 0 ? Math.min(1, Math.max(0, value / peak)) : undefined,
        ticks,
      };
    })
    .sort(
      (a, b) =>
        LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) ||
        (order.get(a.name) ?? 99) - (order.get(b.name) ?? 99) ||
        a.name.localeCompare(b.name),
    );
}
