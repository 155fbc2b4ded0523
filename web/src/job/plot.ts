// How a metric is drawn: arrays for uPlot, and what is painted below and above its lines. x is seconds
// since the job began, so that thousands of plots of different jobs share one axis code.

import uPlot from 'uplot';
import { spreadOf, type MetricSeries, type Values } from '../client/frame';
import type { Thresholds } from '../client/model';
import { curveColours, faded, type Colours } from '../design/appearance.svelte';
import { formatClock, formatElapsed, formatNumber, scaleFor } from '../metrics/format';
import { isRated } from '../metrics/thresholds';

export type Shape = 'lines' | 'spread';

export interface Line {
  label: string;
  colour: string;
  /** Index of its values in the data. */
  at: number;
}

export interface PlotModel {
  data: uPlot.AlignedData;
  lines: Line[];
  series: uPlot.Series[];
  bands: uPlot.Band[];
  /** Spans without any value between the first and the last one. */
  gaps: [number, number][];
  /** Largest and smallest value drawn. */
  top: number;
  bottom: number;
  /** Seconds per value; more than the native step: merged, with extremes as a band. */
  step: number;
}

type Column = (number | null)[];

function column(values: Values | ArrayLike<number>): Column {
  const result = new Array<number | null>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    result[i] = Number.isNaN(value) ? null : value;
  }
  return result;
}

function relative(times: Float64Array, start: number): number[] {
  const result = new Array<number>(times.length);
  for (let i = 0; i < times.length; i++) result[i] = times[i]! - start;
  return result;
}

function sameGrid(a: Float64Array, b: Float64Array): boolean {
  return a.length === b.length && a[0] === b[0] && a.at(-1) === b.at(-1);
}

const LINE: Pick<uPlot.Series, 'points' | 'spanGaps'> = { spanGaps: false, points: { show: false } };

/**
 * Arrays and styles of a metric. `names[i]` labels series i. Lines as long as they can be told apart, with
 * the extremes of merged samples around each; of many the hull of all.
 */
export function plotModel(metric: MetricSeries, shape: Shape, start: number, names: string[], colours: Colours): PlotModel {
  const tables: [number[], ...Column[]][] = [];
  const lines: Line[] = [];
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  const add = (times: Float64Array, columns: Column[]) => {
    const last = tables.at(-1);
    // Neighbours on one grid share its times.
    if (last && lastTimes && sameGrid(lastTimes, times)) last.push(...columns);
    else tables.push([relative(times, start), ...columns]);
    lastTimes = times;
  };
  let lastTimes: Float64Array | null = null;
  let step = metric.nativeTimestep;

  if (shape === 'spread' && metric.spread) {
    const { times, min, median, max } = metric.spread;
    step = metric.spread.step;
    const colour = colours.curves[0]!;
    add(times, [column(max), column(median), column(min)]);
    series.push(
      { ...LINE, stroke: faded(colour, 0.5), width: 1 },
      { ...LINE, stroke: colour, width: 1.5 },
      { ...LINE, stroke: faded(colour, 0.5), width: 1 },
    );
    bands.push({ series: [1, 3], fill: faded(colour, 0.16) });
    lines.push({ label: 'largest', colour: faded(colour, 0.6), at: 1 }, { label: 'median', colour, at: 2 }, { label: 'smallest', colour: faded(colour, 0.6), at: 3 });
  } else {
    const shown = metric.series;
    const palette = curveColours(colours, Math.max(1, shown.length));
    const each = shown.length <= 8;
    if (!each) {
      const first = shown[0]!;
      const alike = shown.every((one) => one.step === first.step && sameGrid(one.times, first.times));
      if (alike) {
        const hull = metric.spread ?? spreadOf(shown)!;
        add(first.times, [column(hull.max), column(hull.min)]);
        const at = series.length;
        series.push({ ...LINE, width: 0 }, { ...LINE, width: 0 });
        bands.push({ series: [at, at + 1], fill: faded(colours.curves[7]!, 0.14) });
      }
    }
    shown.forEach((one, i) => {
      step = Math.max(step, one.step);
      const colour = palette[i]!;
      const at = series.length;
      const columns = [column(one.mean)];
      series.push({ ...LINE, stroke: shown.length > 24 ? faded(colour, 0.65) : colour, width: shown.length > 4 ? 1.1 : 1.5 });
      lines.push({ label: names[i]!, colour, at });
      if (one.extremes && each) {
        columns.push(column(one.extremes.max), column(one.extremes.min));
        series.push({ ...LINE, width: 0 }, { ...LINE, width: 0 });
        bands.push({ series: [at + 1, at + 2], fill: faded(colour, shown.length === 1 ? 0.24 : 0.15) });
      }
      add(one.times, columns);
    });
  }

  const data = (tables.length === 0 ? [[]] : tables.length === 1 ? tables[0]! : uPlot.join(tables as uPlot.AlignedData[])) as uPlot.AlignedData;
  let top = 0;
  let bottom = 0;
  for (let s = 1; s < data.length; s++)
    for (const value of data[s]!) {
      if (value == null) continue;
      if (value > top) top = value;
      else if (value < bottom) bottom = value;
    }
  return { data, lines, series, bands, gaps: gapsOf(data, lines), top, bottom, step };
}

function gapsOf(data: uPlot.AlignedData, lines: Line[]): [number, number][] {
  const times = data[0];
  const gaps: [number, number][] = [];
  let before = -1;
  for (let i = 0; i < times.length; i++) {
    if (lines.every(({ at }) => data[at]![i] == null)) continue;
    if (before >= 0 && i - before > 1) gaps.push([times[before]!, times[i]!]);
    before = i;
  }
  return gaps;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

export interface PlotStyle {
  colours: Colours;
  thresholds: Thresholds | undefined;
  unit: { base: string; prefix: string };
  /** Unix seconds of x = 0. */
  start: number;
  clock: boolean;
  /** y up to the data, not to the normal value. */
  fit: boolean;
  narrow: boolean;
  syncKey: string;
}

/** Upper end of the y axis: the normal value is in sight unless `fit`; outliers far beyond the peak are cut. */
export function yRange(bottom: number, top: number, thresholds: Thresholds | undefined, fit: boolean): [number, number] {
  let high = Number.isFinite(top) ? top : 0;
  const peak = thresholds?.peak ?? 0;
  if (peak > 0 && high >= 10 * peak) high = 10 * peak;
  if (!fit) high = Math.max(high, thresholds?.normal ?? 0);
  const low = Number.isFinite(bottom) && bottom < 0 ? bottom * 1.08 : 0;
  return [low, high > 0 ? high * 1.08 : 1];
}

export function plotOptions(model: () => PlotModel, style: () => PlotStyle, range: () => [number, number]): Omit<uPlot.Options, 'width' | 'height'> {
  const { colours, start, clock, narrow, syncKey } = style();
  const zone = -new Date(start * 1000).getTimezoneOffset() * 60;
  const offset = clock ? start + zone : 0;
  const axis: uPlot.Axis = {
    stroke: colours.tick,
    font: colours.font,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
  return {
    padding: [8, narrow ? 6 : 12, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: syncKey, setSeries: false, scales: ['x', null] },
      drag: { x: true, y: false, setScale: false },
      focus: { prox: 24 },
      points: { show: (_u, at) => cursorPoint(model(), at), size: 6 },
      y: false,
    },
    focus: { alpha: 0.35 },
    scales: {
      x: { time: false, auto: false, range: () => range() },
      y: { auto: true, range: (_u, low, high) => yRange(low, high, style().thresholds, style().fit) },
    },
    axes: [
      {
        ...axis,
        size: 22,
        gap: 3,
        space: clock ? 74 : 58,
        incrs: STEPS,
        splits: (_u, _axis, low, high, increment) => {
          const marks: number[] = [];
          for (let at = Math.ceil((low + offset) / increment) * increment; at <= high + offset; at += increment) marks.push(at - offset);
          return marks;
        },
        values: (_u, marks, _axis, _space, increment) =>
          clock
            ? marks.map((mark, i) => formatClock(start + mark, increment, i === 0 && marks.length > 2 && crossesDay(start + marks[0]!, start + marks.at(-1)!)))
            : marks.map((mark) => formatElapsed(mark, increment)),
      },
      {
        ...axis,
        size: narrow ? 42 : 48,
        gap: 5,
        space: 30,
        grid: { stroke: colours.grid, width: 1 },
        values: (u, marks) => {
          const { factor } = scaleFor(u.scales.y!.max ?? 1, style().unit);
          return marks.map((mark) => formatNumber(mark * factor, 4));
        },
      },
    ],
    series: model().series,
    bands: model().bands,
    hooks: {
      drawClear: [(u) => paintZones(u, style())],
      drawAxes: [(u) => paintGaps(u, model(), style())],
      draw: [(u) => paintNormal(u, style())],
    },
  };
}

function crossesDay(from: number, to: number): boolean {
  return new Date(from * 1000).toDateString() !== new Date(to * 1000).toDateString();
}

/** A dot on each line under the cursor, while there are few. */
function cursorPoint({ lines }: PlotModel, at: number): HTMLElement {
  const line = lines.length <= 12 ? lines.find((one) => one.at === at) : undefined;
  // No element is uPlot's word for no dot; its types do not know.
  if (!line) return undefined as unknown as HTMLElement;
  const point = document.createElement('div');
  point.style.background = line.colour;
  return point;
}

function paintZones(u: uPlot, { thresholds, colours }: PlotStyle): void {
  if (!thresholds || !isRated(thresholds)) return;
  const { left, top, width, height } = u.bbox;
  const [low, high] = [u.scales.y!.min ?? 0, u.scales.y!.max ?? 1];
  const y = (value: number) => Math.round(u.valToPos(Math.max(low, Math.min(high, value)), 'y', true));
  const band = (from: number, to: number, colour: string) => {
    if (to <= low || from >= high || from >= to) return;
    u.ctx.fillStyle = colour;
    u.ctx.fillRect(left, y(to), width, y(from) - y(to));
  };
  const { alert, caution, lowerIsBetter } = thresholds;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  if (lowerIsBetter) {
    if (caution > 0) band(caution, alert > 0 ? alert : Infinity, colours.cautionZone);
    if (alert > 0) band(alert, Infinity, colours.alertZone);
  } else {
    band(0, alert, colours.alertZone);
    band(alert, caution, colours.cautionZone);
  }
  u.ctx.restore();
}

function paintGaps(u: uPlot, { gaps }: PlotModel, { colours }: PlotStyle): void {
  if (gaps.length === 0) return;
  const { left, top, width, height } = u.bbox;
  const { ctx } = u;
  const spacing = 6 * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  for (const [from, to] of gaps) {
    const x = u.valToPos(from, 'x', true);
    ctx.rect(Math.max(left, x), top, Math.min(left + width, u.valToPos(to, 'x', true)) - Math.max(left, x), height);
  }
  ctx.clip();
  ctx.strokeStyle = colours.gap;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  for (let x = left - height; x < left + width; x += spacing) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

function paintNormal(u: uPlot, { thresholds, colours }: PlotStyle): void {
  const { left, width } = u.bbox;
  const { ctx } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  const line = (value: number, dash: number[], colour: string) => {
    if (value <= 0 || value >= (u.scales.y!.max ?? 0)) return;
    const y = Math.round(u.valToPos(value, 'y', true)) + 0.5;
    ctx.strokeStyle = colour;
    ctx.setLineDash(dash.map((part) => part * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + width, y);
    ctx.stroke();
  };
  if (thresholds) line(thresholds.normal, [4, 4], colours.normal);
  // The ground line carries the eye when values are small.
  line(0, [], colours.axis);
  ctx.setLineDash([]);
  ctx.strokeStyle = colours.axis;
  const y = Math.round(u.valToPos(Math.max(0, u.scales.y!.min ?? 0), 'y', true)) - 0.5;
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(left + width, y);
  ctx.stroke();
  ctx.restore();
}
