// Rows of the statistics table: one per node or unit, one group of columns per metric.

import type { MetricSeries } from '../client/frame';
import type { Statistic } from '../client/model';

export interface StatisticsRow {
  hostname: string;
  id: string | null;
  /** Per metric, undefined where it has no samples. */
  values: ({ avg: number; min: number; max: number } | undefined)[];
}

export function statisticsRows(metrics: MetricSeries[]): StatisticsRow[] {
  const rows = new Map<string, StatisticsRow>();
  metrics.forEach((metric, m) => {
    for (const { hostname, id, statistics } of metric.series) {
      const key = `${hostname}\0${id ?? ''}`;
      let row = rows.get(key);
      if (!row) rows.set(key, (row = { hostname, id, values: new Array<undefined>(metrics.length).fill(undefined) }));
      row.values[m] = statistics ?? undefined;
    }
  });
  return [...rows.values()];
}

export type Column = 'name' | { metric: number; stat: Statistic };

const natural = new Intl.Collator('en', { numeric: true });

export function byName(a: StatisticsRow, b: StatisticsRow): number {
  return natural.compare(a.hostname, b.hostname) || natural.compare(a.id ?? '', b.id ?? '');
}

/** A sorted copy; rows without a value last, whatever the direction. */
export function sortedRows(rows: StatisticsRow[], column: Column, descending: boolean): StatisticsRow[] {
  const sign = descending ? -1 : 1;
  if (column === 'name') return rows.toSorted((a, b) => sign * byName(a, b));
  const value = (row: StatisticsRow) => row.values[column.metric]?.[column.stat];
  return rows.toSorted((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined) return left === right ? byName(a, b) : left === undefined ? 1 : -1;
    return sign * (left - right) || byName(a, b);
  });
}

/** Over all rows: mean of the averages, smallest, largest. */
export function totals(rows: StatisticsRow[], metric: number): { avg: number; min: number; max: number } | undefined {
  const found = rows.map((row) => row.values[metric]).filter((one) => one !== undefined);
  if (found.length === 0) return undefined;
  return {
    avg: found.reduce((sum, one) => sum + one.avg, 0) / found.length,
    min: Math.min(...found.map((one) => one.min)),
    max: Math.max(...found.map((one) => one.max)),
  };
}
