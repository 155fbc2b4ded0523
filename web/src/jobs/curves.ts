// Small plots of a job for the list: reduced to a middle and its extremes, a few at a time, remembered.

import type { Frame, MetricSeries } from '../client/frame';
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
const AT_ONCE = 4;
const REMEMBER = 300;

function reduce(metric: MetricSeries): Curve | null {
  const rated = metric.series.filter((one) => one.statistics);
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
const waiting: (() => void)[] = [];
let busy = 0;

async function turn(signal: AbortSignal): Promise<void> {
  if (busy >= AT_ONCE) {
    await new Promise<void>((go, stop) => {
      waiting.push(go);
      signal.addEventListener('abort', () => {
        const at = waiting.indexOf(go);
        if (at >= 0) waiting.splice(at, 1);
        stop(signal.reason instanceof Error ? signal.reason : new DOMException('', 'AbortError'));
      });
    });
  }
  signal.throwIfAborted();
  busy += 1;
}

function done(): void {
  busy -= 1;
  waiting.shift()?.();
}

/** What was loaded before: shown at once, renewed for running jobs. */
export function recalled(job: Job, metrics: string[]): RowCurves | undefined {
  return remembered.get(keyOf(job, metrics));
}

function keyOf(job: Job, metrics: string[]): string {
  return `${job.id}:${job.state}:${metrics.join(',')}`;
}

export async function loadCurves(job: Job, metrics: string[], signal: AbortSignal): Promise<RowCurves> {
  const key = keyOf(job, metrics);
  const known = remembered.get(key);
  if (known && job.state !== 'running') return known;
  await turn(signal);
  try {
    const frame: Frame = await client.series(
      job.id,
      { metrics, scope: 'node', points: CURVE_POINTS, spread: job.numNodes > 2 ? 'only' : undefined },
      signal,
    );
    const curves = new Map<string, Curve>();
    for (const metric of frame.metrics) {
      const curve = reduce(metric);
      if (curve) curves.set(metric.name, curve);
    }
    const row = { curves, errors: frame.errors };
    remembered.delete(key);
    remembered.set(key, row);
    if (remembered.size > REMEMBER) remembered.delete(remembered.keys().next().value!);
    return row;
  } finally {
    done();
  }
}
