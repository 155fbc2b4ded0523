// Small plots of a job for the list: reduced to a middle and its extremes, a screenful at a time, remembered.

import type { Frame, MetricSeries } from '../client/frame';
import { MOST_ROWS } from '../client/client';
import type { Job, Scope } from '../client/model';
import { client } from '../shell/session.svelte';

/** One curve over a job's time: middle and extremes over nodes and over merged samples. */
export interface Curve {
  times: Float64Array;
  middle: ArrayLike<number>;
  min: ArrayLike<number>;
  max: ArrayLike<number>;
  average: number;
  scope: Scope;
}

/** Over a curve's time: what it says about the job so far. */
export function curveStatistics(curve: Curve | undefined): { avg: number; min: number; max: number } | undefined {
  if (!curve || Number.isNaN(curve.average)) return undefined;
  let min = Infinity;
  let max = -Infinity;
  for (let i = 0; i < curve.min.length; i++) {
    if (curve.min[i]! < min) min = curve.min[i]!;
    if (curve.max[i]! > max) max = curve.max[i]!;
  }
  return { avg: curve.average, min, max };
}

export const CURVE_POINTS = 120;
const REMEMBER = 300;

function reduce(metric: MetricSeries): Curve | null {
  const rated = metric.series.filter((one) => one.statistics);
  // Without a sample there is nothing to draw.
  if (metric.spread ? metric.spread.median.every(Number.isNaN) : metric.series.every((one) => one.mean.every(Number.isNaN))) return null;
  const average = rated.reduce((sum, one) => sum + one.statistics!.avg, 0) / rated.length;
  if (metric.spread) {
    const { times, min, median, max } = metric.spread;
    return { times, middle: median, min, max, average: rated.length ? average : mean(median), scope: metric.scope };
  }
  const [first, ...others] = metric.series.filter((one) => one.mean.length > 0);
  if (!first) return null;
  // Two or three series on one grid: their hull. (From three on the server sends the spread.)
  const middle = Float64Array.from(first.mean);
  const min = Float64Array.from(first.extremes?.min ?? first.mean);
  const max = Float64Array.from(first.extremes?.max ?? first.mean);
  for (let i = 0; i < middle.length; i++) {
    let sum = 0;
    let count = 0;
    for (const one of [first, ...others]) {
      const value = one.mean[i];
      if (value === undefined || Number.isNaN(value)) continue;
      sum += value;
      count += 1;
      const low = one.extremes?.min[i] ?? value;
      const high = one.extremes?.max[i] ?? value;
      if (!(min[i]! <= low)) min[i] = low;
      if (!(max[i]! >= high)) max[i] = high;
    }
    middle[i] = count ? sum / count : NaN;
  }
  return { times: first.times, middle, min, max, average, scope: metric.scope };
}

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    sum += values[i]!;
    count += 1;
  }
  return count ? sum / count : NaN;
}

export interface RowCurves {
  curves: Map<string, Curve>;
  errors: string[];
}

const remembered = new Map<string, RowCurves>();

/** A row that waits for its curves; rows that ask for the same metrics within a moment share a request. */
interface Waiting {
  job: Job;
  signal: AbortSignal;
  done: (row: RowCurves) => void;
  failed: (error: unknown) => void;
}
const waiting = new Map<string, Waiting[]>();
/** Enough that the rows on the screen have all said what they want. */
const COLLECT = 16;
/** Rows of a request: the first ones are there while the others are read. */
const TOGETHER = Math.min(MOST_ROWS, 16);

/** What was loaded before: shown at once, renewed for running jobs. */
export function recalled(job: Job, metrics: string[]): RowCurves | undefined {
  return remembered.get(keyOf(job, metrics));
}

function keyOf(job: Job, metrics: string[]): string {
  return `${job.id}:${job.state}:${job.monitoringStatus}:${metrics.join(',')}`;
}

export async function loadCurves(job: Job, metrics: string[], signal: AbortSignal): Promise<RowCurves> {
  const known = remembered.get(keyOf(job, metrics));
  if (known && job.state !== 'running') return known;
  return new Promise<RowCurves>((done, failed) => {
    const name = metrics.join(',');
    const group = waiting.get(name) ?? [];
    if (!waiting.has(name)) {
      waiting.set(name, group);
      setTimeout(() => {
        waiting.delete(name);
        const wanted = group.filter((one) => !one.signal.aborted);
        for (let at = 0; at < wanted.length; at += TOGETHER) void ask(metrics, wanted.slice(at, at + TOGETHER));
      }, COLLECT);
    }
    group.push({ job, signal, done, failed });
  });
}

async function ask(metrics: string[], rows: Waiting[]): Promise<void> {
  // Given up once nobody waits for it any more.
  const stop = new AbortController();
  let left = rows.length;
  for (const { signal, failed } of rows)
    signal.addEventListener('abort', () => {
      failed(new DOMException('', 'AbortError'));
      if (--left === 0) stop.abort();
    });
  try {
    const frames = await client.rows(rows.map(({ job }) => job.id), metrics, CURVE_POINTS, stop.signal);
    for (const { job, done } of rows) done(remember(job, metrics, frames.get(job.id)));
  } catch (error) {
    for (const { failed } of rows) failed(error);
  }
}

function remember(job: Job, metrics: string[], frame: Frame | undefined): RowCurves {
  const curves = new Map<string, Curve>();
  for (const metric of frame?.metrics ?? []) {
    const curve = reduce(metric);
    if (curve) curves.set(metric.name, curve);
  }
  const row = { curves, errors: frame?.errors ?? [] };
  const key = keyOf(job, metrics);
  remembered.delete(key);
  // What failed may work the next time.
  if (curves.size === 0) return row;
  remembered.set(key, row);
  if (remembered.size > REMEMBER) remembered.delete(remembered.keys().next().value!);
  return row;
}
