import { describe, expect, it } from 'vitest';
import { formatDuration, formatElapsed, formatNumber, formatRoughDuration, formatValue, scaleFor } from '../src/metrics/format';

const bytes = { base: 'B', prefix: 'G' };
const flops = { base: 'F/s', prefix: 'G' };

describe('values', () => {
  it.each<[number, { base: string; prefix: string }, string]>([
    [0, flops, '0\u00a0GF/s'],
    [12.345, flops, '12.3\u00a0GF/s'],
    [1234.5, flops, '1.23\u00a0TF/s'],
    [0.0125, flops, '12.5\u00a0MF/s'],
    [-2500, flops, '-2.5\u00a0TF/s'],
    [0.5, { base: 'F/s', prefix: '' }, '0.5\u00a0F/s'],
    [0.02, { base: 's', prefix: '' }, '20\u00a0ms'],
    [2048, { base: 'B', prefix: 'Mi' }, '2\u00a0GiB'],
    [1536, bytes, '1.54\u00a0TB'],
    [97.25, { base: '%', prefix: '' }, '97.3\u2009%'],
    [1.234, { base: 'IPC', prefix: '' }, '1.23\u00a0IPC'],
    [72, { base: '', prefix: '' }, '72'],
    [5e-7, { base: '', prefix: '' }, '5.0e−7'],
    [NaN, flops, '–'],
    [2000, { base: 'B/s', prefix: 'K' }, '2\u00a0MB/s'],
  ])('%d %o', (value, unit, text) => expect(formatValue(value, unit)).toBe(text));

  it('groups thousands thinly', () => expect(formatNumber(12345.6)).toBe('12\u2009346'));

  it('scales an axis by its largest value', () => {
    expect(scaleFor(2400, flops)).toEqual({ factor: 0.001, unit: 'TF/s' });
    expect(scaleFor(0, flops)).toEqual({ factor: 1, unit: 'GF/s' });
    expect(scaleFor(1000, flops)).toEqual({ factor: 0.001, unit: 'TF/s' });
  });
});

describe('durations', () => {
  it.each([
    [0, '0:00:00'],
    [65, '0:01:05'],
    [7505, '2:05:05'],
    [2 * 86400 + 3 * 3600 + 245, '2d\u00a003:04:05'],
  ])('%d', (seconds, text) => expect(formatDuration(seconds)).toBe(text));
  it.each([
    [0, '0s'],
    [65, '1m 5s'],
    [7200, '2h'],
    [90061, '1d 1h'],
  ])('roughly %d', (seconds, text) => expect(formatRoughDuration(seconds)).toBe(text));
  it('pads minutes on an axis', () => {
    expect(formatElapsed(2 * 3600 + 300, 300)).toBe('2:05h');
    expect(formatElapsed(0)).toBe('0');
    expect(formatElapsed(7200, 3600)).toBe('2h');
    expect(formatElapsed(90, 30)).toBe('1:30');
    expect(formatElapsed(-600, 60)).toBe('−10m');
    expect(formatElapsed(108000, 21600)).toBe('1d 06h');
  });
});
