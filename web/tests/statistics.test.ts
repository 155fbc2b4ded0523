import { expect, it } from 'vitest';
import type { MetricSeries } from '../src/client/frame';
import { sortedRows, statisticsRows, totals } from '../src/job/statistics';

const metric = (name: string, list: [string, string | null, number | null][]): MetricSeries => ({
  name,
  scope: 'node',
  unit: { base: '', prefix: '' },
  nativeTimestep: 60,
  spread: null,
  series: list.map(([hostname, id, avg]) => ({
    hostname,
    id,
    statistics: avg === null ? null : { avg, min: avg - 1, max: avg + 1 },
    times: new Float64Array(),
    step: 60,
    mean: new Float32Array(),
    extremes: null,
    coverage: null,
  })),
});

const rows = statisticsRows([metric('a', [['n10', null, 3], ['n2', null, 1], ['n3', null, null]]), metric('b', [['n2', null, 7]])]);
const names = (list: typeof rows) => list.map((row) => row.hostname);

it('matches metrics by host, not by position', () => {
  expect(rows.find((row) => row.hostname === 'n2')!.values.map((value) => value?.avg)).toEqual([1, 7]);
  expect(rows.find((row) => row.hostname === 'n10')!.values[1]).toBeUndefined();
});

it('sorts names as people count, and missing values last either way', () => {
  expect(names(sortedRows(rows, 'name', false))).toEqual(['n2', 'n3', 'n10']);
  expect(names(sortedRows(rows, { metric: 0, stat: 'avg' }, false))).toEqual(['n2', 'n10', 'n3']);
  expect(names(sortedRows(rows, { metric: 0, stat: 'avg' }, true))).toEqual(['n10', 'n2', 'n3']);
});

it('sums up without the missing', () => {
  expect(totals(rows, 0)).toEqual({ avg: 2, min: 0, max: 4 });
  expect(totals([], 0)).toBeUndefined();
});
