// The binary frame of time series (docs/frame.md): typed arrays lie on the received buffer, without a copy.

import type { Scope, Unit } from './model';

export type Values = Float32Array | Float64Array;

/** Values over time. `times[i]` is the middle of the samples merged into value i; NaN is a gap. */
export interface Curve {
  times: Float64Array;
  /** Usual distance between values, seconds. */
  step: number;
}

export interface Series extends Curve {
  hostname: string;
  /** Id of the hardware unit below the node; null at node scope. */
  id: string | null;
  /** Over the samples of the window at full resolution. */
  statistics: { avg: number; min: number; max: number } | null;
  mean: Values;
  /** Extremes of each value's samples, where a value merges several. */
  extremes: { min: Values; max: Values } | null;
  /** Components an aggregate should have, and has. */
  coverage: { expected: number; present: number } | null;
}

export interface SpreadCurve extends Curve {
  min: Values;
  median: Values;
  max: Values;
}

export interface MetricSeries {
  name: string;
  scope: Scope;
  unit: Unit;
  nativeTimestep: number;
  series: Series[];
  /** Per point over all series, where asked for. */
  spread: SpreadCurve | null;
}

export interface Frame {
  /** The server's clock. */
  now: number;
  from: number;
  to: number;
  /** Hand back as `since`. */
  next: number | null;
  metrics: MetricSeries[];
  errors: string[];
}

export class FrameError extends Error {
  override name = 'FrameError';
}

interface Reference {
  offset: number;
  length: number;
  dtype: 'f4' | 'f8';
}

type Raw = Record<string, unknown>;

/** Read a frame. Throws FrameError where the bytes are not one. */
export function decodeFrame(buffer: ArrayBuffer): Frame {
  if (buffer.byteLength < 8) throw new FrameError('frame is cut short');
  const view = new DataView(buffer);
  if (view.getUint32(0, false) !== 0x43434631) throw new FrameError('not a frame: it does not begin with CCF1');
  const base = 8 + view.getUint32(4, true);
  if (base % 8 !== 0 || base > buffer.byteLength) throw new FrameError('frame header is cut short or misaligned');
  let header: Raw;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(buffer, 8, base - 8))) as Raw;
  } catch (error) {
    throw new FrameError(`frame header is not JSON: ${String(error)}`);
  }

  const values = (reference: unknown, what: string): Values => {
    const { offset, length, dtype } = (reference ?? {}) as Partial<Reference>;
    const size = dtype === 'f4' ? 4 : dtype === 'f8' ? 8 : 0;
    if (
      size === 0 ||
      !Number.isInteger(offset) ||
      !Number.isInteger(length) ||
      offset! < 0 ||
      length! < 0 ||
      offset! % 8 !== 0 ||
      base + offset! + length! * size > buffer.byteLength
    )
      throw new FrameError(`${what}: array reference points outside the frame`);
    return size === 4
      ? new Float32Array(buffer, base + offset!, length)
      : new Float64Array(buffer, base + offset!, length);
  };

  const grid = (raw: Raw, length: number, what: string): Curve => {
    const step = number(raw.step, 1);
    if (raw.times) {
      const times = Float64Array.from(values(raw.times, what));
      if (times.length !== length) throw new FrameError(`${what}: times and values differ in length`);
      return { times, step };
    }
    const start = number(raw.start, 0);
    const times = new Float64Array(length);
    for (let i = 0; i < length; i++) times[i] = start + i * step;
    return { times, step };
  };

  const series = (raw: Raw, what: string): Series => {
    const mean = values(raw.mean, what);
    const min = raw.min ? values(raw.min, what) : null;
    const max = raw.max ? values(raw.max, what) : null;
    if ((min && min.length !== mean.length) || (max && max.length !== mean.length))
      throw new FrameError(`${what}: arrays of one series differ in length`);
    const statistics = raw.statistics as { avg: number; min: number; max: number } | null;
    return {
      ...grid(raw, mean.length, what),
      hostname: String(raw.hostname),
      id: raw.id == null ? null : String(raw.id),
      statistics: statistics ? { avg: statistics.avg, min: statistics.min, max: statistics.max } : null,
      mean,
      extremes: min && max ? { min, max } : null,
      coverage:
        typeof raw.expected === 'number' ? { expected: raw.expected, present: number(raw.present, 0) } : null,
    };
  };

  const spread = (raw: Raw, what: string): SpreadCurve => {
    const median = values(raw.median, what);
    const min = values(raw.min, what);
    const max = values(raw.max, what);
    if (min.length !== median.length || max.length !== median.length)
      throw new FrameError(`${what}: statistics arrays differ in length`);
    return { ...grid(raw, median.length, what), min, median, max };
  };

  const metrics = list(header.metrics).map((raw): MetricSeries => {
    const what = `${String(raw.name)}/${String(raw.scope)}`;
    const unit = (raw.unit ?? {}) as Partial<Unit>;
    return {
      name: String(raw.name),
      scope: raw.scope as Scope,
      unit: { base: unit.base ?? '', prefix: unit.prefix ?? '' },
      nativeTimestep: number(raw.native_timestep, 60),
      series: list(raw.series).map((one) => series(one, what)),
      spread: raw.statistics_series ? spread(raw.statistics_series as Raw, what) : null,
    };
  });
  return {
    now: number(header.now, 0),
    from: number(header.from, 0),
    to: number(header.to, 0),
    next: typeof header.next === 'number' ? header.next : null,
    metrics,
    errors: Array.isArray(header.errors) ? header.errors.map(String) : [],
  };
}

/** Frames of several jobs, each after its job's id and its length. Throws FrameError where the bytes are not that. */
export function decodeFrames(buffer: ArrayBuffer): Map<number, Frame> {
  const view = new DataView(buffer);
  const frames = new Map<number, Frame>();
  for (let at = 0; at < buffer.byteLength; ) {
    if (at + 8 > buffer.byteLength) throw new FrameError('frames are cut short');
    const length = view.getUint32(at + 4, true);
    if (at + 8 + length > buffer.byteLength) throw new FrameError('frames are cut short');
    frames.set(view.getUint32(at, true), decodeFrame(buffer.slice(at + 8, at + 8 + length)));
    at += 8 + length;
  }
  return frames;
}

function number(value: unknown, fallback: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : fallback;
}

function list(value: unknown): Raw[] {
  return Array.isArray(value) ? (value as Raw[]) : [];
}

/** First index whose time is not before `time`. */
export function indexAt(times: Float64Array, time: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Smallest, median and largest over series of one grid, per point; null where their grids differ. */
export function spreadOf(series: Series[]): SpreadCurve | null {
  const first = series[0];
  if (!first || series.some((one) => one.times.length !== first.times.length || one.times[0] !== first.times[0] || one.step !== first.step))
    return null;
  const length = first.times.length;
  const min = new Float64Array(length).fill(NaN);
  const median = new Float64Array(length).fill(NaN);
  const max = new Float64Array(length).fill(NaN);
  const values = new Float64Array(series.length);
  for (let i = 0; i < length; i++) {
    let count = 0;
    for (const { mean, extremes } of series) {
      const value = mean[i]!;
      if (Number.isNaN(value)) continue;
      values[count++] = value;
      const low = extremes ? extremes.min[i]! : value;
      const high = extremes ? extremes.max[i]! : value;
      if (!(min[i]! <= low)) min[i] = low;
      if (!(max[i]! >= high)) max[i] = high;
    }
    if (count === 0) continue;
    const known = values.subarray(0, count).sort();
    median[i] = count % 2 ? known[count >> 1]! : (known[count / 2 - 1]! + known[count / 2]!) / 2;
  }
  return { times: first.times, step: first.step, min, median, max };
}

function joined<V extends Values>(kept: V, count: number, added: Values): V {
  const result = new (kept.constructor as new (length: number) => V)(count + added.length);
  result.set(kept.subarray(0, count));
  result.set(added, count);
  return result;
}

function continued(old: Series, tail: Series, since: number): Series {
  const keep = indexAt(old.times, since);
  // The answer may begin before `since` (its bucket's middle lies earlier than its edge).
  const first = tail.times[0] ?? Infinity;
  const count = Math.min(keep, indexAt(old.times, first));
  const pick = (a: Values, b: Values) => joined(a, count, b);
  const extremes =
    old.extremes || tail.extremes
      ? {
          min: pick(old.extremes?.min ?? old.mean, tail.extremes?.min ?? tail.mean),
          max: pick(old.extremes?.max ?? old.mean, tail.extremes?.max ?? tail.mean),
        }
      : null;
  return {
    ...tail,
    step: Math.max(old.step, tail.step),
    times: joined(old.times, count, tail.times),
    mean: pick(old.mean, tail.mean),
    extremes,
    // The tail's statistics are of the tail; the next full load brings those of the whole.
    statistics: old.statistics,
  };
}

/**
 * Continue `old` with the answer to a request with `since`: values at or after it are replaced.
 * Series that the answer does not name stay; new ones are added.
 */
export function continueFrame(old: Frame, tail: Frame, since: number): Frame {
  const key = (metric: MetricSeries) => `${metric.name}\0${metric.scope}`;
  const of = (one: Series) => `${one.hostname}\0${one.id ?? ''}`;
  const fresh = new Map(tail.metrics.map((metric) => [key(metric), metric]));
  const metrics = old.metrics.map((metric): MetricSeries => {
    const news = fresh.get(key(metric));
    if (!news) return metric;
    fresh.delete(key(metric));
    const added = new Map(news.series.map((one) => [of(one), one]));
    const series = metric.series.map((one) => {
      const next = added.get(of(one));
      added.delete(of(one));
      return next && next.mean.length > 0 ? continued(one, next, since) : one;
    });
    let spread = metric.spread;
    if (spread && news.spread && news.spread.median.length > 0) {
      const count = Math.min(indexAt(spread.times, since), indexAt(spread.times, news.spread.times[0]!));
      spread = {
        step: Math.max(spread.step, news.spread.step),
        times: joined(spread.times, count, news.spread.times),
        min: joined(spread.min, count, news.spread.min),
        median: joined(spread.median, count, news.spread.median),
        max: joined(spread.max, count, news.spread.max),
      };
    } else spread ??= news.spread;
    return { ...metric, series: [...series, ...added.values()], spread };
  });
  return {
    now: tail.now,
    from: old.from,
    to: Math.max(old.to, tail.to),
    next: tail.next ?? old.next,
    metrics: [...metrics, ...fresh.values()],
    errors: tail.errors,
  };
}
