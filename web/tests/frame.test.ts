import { describe, expect, it } from 'vitest';
import { FrameError, continueFrame, decodeFrame, decodeFrames, spreadOf } from '../src/client/frame';
import { encodeFrame } from '../dev/frame.mjs';

const series = (start: number, mean: number[], extra: object = {}) => ({
  hostname: 'n1',
  id: null,
  statistics: { avg: 1, min: 0, max: 2 },
  start,
  step: 60,
  mean: { f4: mean },
  ...extra,
});
const header = (list: object[], more: object = {}) => ({
  now: 1000,
  from: 0,
  to: 1000,
  metrics: [{ name: 'ipc', scope: 'node', unit: { base: 'IPC', prefix: '' }, native_timestep: 60, series: list, ...more }],
  errors: [],
});

describe('decoding', () => {
  it('puts typed arrays on the received buffer and gaps stay gaps', () => {
    const buffer = encodeFrame(header([series(30, [1, NaN, 3], { min: { f4: [0, NaN, 2] }, max: { f4: [2, NaN, 4] } })]));
    const one = decodeFrame(buffer).metrics[0]!.series[0]!;
    expect(one.mean.buffer).toBe(buffer);
    expect([...one.times]).toEqual([30, 90, 150]);
    expect([...one.mean]).toEqual([1, NaN, 3]);
    expect([...one.extremes!.max]).toEqual([2, NaN, 4]);
  });

  it('reads explicit times, double precision and the spread', () => {
    const buffer = encodeFrame(
      header([series(0, [], { times: { f8: [5, 65.5] }, mean: { f8: [1, 2] } })], {
        statistics_series: { start: 0, step: 60, min: { f4: [1] }, median: { f4: [2] }, max: { f4: [3] } },
      }),
    );
    const metric = decodeFrame(buffer).metrics[0]!;
    expect([...metric.series[0]!.times]).toEqual([5, 65.5]);
    expect([...metric.spread!.median]).toEqual([2]);
  });

  it('reads frames of several jobs, each by its id', () => {
    const frame = new Uint8Array(encodeFrame(header([series(30, [1, NaN])])));
    const both = new ArrayBuffer(2 * (8 + frame.length));
    const view = new DataView(both);
    [7, 9].forEach((id, i) => {
      const at = i * (8 + frame.length);
      view.setUint32(at, id, true);
      view.setUint32(at + 4, frame.length, true);
      new Uint8Array(both).set(frame, at + 8);
    });
    const frames = decodeFrames(both);
    expect([...frames.keys()]).toEqual([7, 9]);
    expect([...frames.get(9)!.metrics[0]!.series[0]!.mean]).toEqual([1, NaN]);
    expect(decodeFrames(new ArrayBuffer(0)).size).toBe(0);
    expect(() => decodeFrames(both.slice(0, both.byteLength - 8))).toThrow(FrameError);
    expect(() => decodeFrames(both.slice(0, 4))).toThrow(FrameError);
  });

  it('refuses what is not a frame', () => {
    const good = new Uint8Array(encodeFrame(header([series(0, [1, 2])])));
    const wrong = good.slice();
    wrong[0] = 0;
    expect(() => decodeFrame(wrong.buffer)).toThrow(FrameError);
    expect(() => decodeFrame(good.slice(0, 5).buffer)).toThrow(FrameError);
    expect(() => decodeFrame(good.slice(0, good.length - 4).buffer)).toThrow(/outside the frame/);
    expect(() => decodeFrame(encodeFrame(header([series(0, [1, 2], { min: { f4: [1] }, max: { f4: [1] } })])))).toThrow(/length/);
  });
});

describe('continuing', () => {
  const frame = (list: object[], more = {}) => decodeFrame(encodeFrame({ ...header(list), ...more }));

  it('replaces the unfinished end and appends', () => {
    const old = frame([series(0, [1, 2, 3])], { next: 120 });
    const tail = frame([series(120, [4, 5], { statistics: null })], { next: 180, to: 1060, now: 1060 });
    const joined = continueFrame(old, tail, 120);
    const one = joined.metrics[0]!.series[0]!;
    expect([...one.times]).toEqual([0, 60, 120, 180]);
    expect([...one.mean]).toEqual([1, 2, 4, 5]);
    expect(one.statistics).toEqual({ avg: 1, min: 0, max: 2 });
    expect([joined.from, joined.to, joined.next]).toEqual([0, 1060, 180]);
  });

  it('keeps series without news, adds new ones, and joins extremes with plain values', () => {
    const old = frame([series(0, [1, 2]), series(0, [7], { hostname: 'n2' })]);
    const tail = frame([series(120, [3], { min: { f4: [2] }, max: { f4: [4] } }), series(120, [9], { hostname: 'n3' })]);
    const list = continueFrame(old, tail, 120).metrics[0]!.series;
    expect(list.map((one) => one.hostname)).toEqual(['n1', 'n2', 'n3']);
    expect([...list[0]!.extremes!.min]).toEqual([1, 2, 2]);
    expect([...list[1]!.mean]).toEqual([7]);
  });
});

describe('spread over series', () => {
  const list = (values: number[][], extra: object[] = []) =>
    decodeFrame(encodeFrame(header(values.map((mean, i) => series(0, mean, extra[i]))))).metrics[0]!.series;

  it('leaves missing values out, and counts the extremes of merged samples', () => {
    const spread = spreadOf(list([[1, NaN], [3, NaN], [8, 2]], [{}, { min: { f4: [0, NaN] }, max: { f4: [9, NaN] } }]))!;
    expect([...spread.median]).toEqual([3, 2]);
    expect([...spread.min]).toEqual([0, 2]);
    expect([...spread.max]).toEqual([9, 2]);
  });

  it('is none where the grids differ', () => {
    expect(spreadOf(list([[1, 2], [1, 2, 3]]))).toBeNull();
    expect(spreadOf([])).toBeNull();
  });
});
