import { describe, expect, it } from 'vitest';
import type { MetricConfig, SubCluster } from '../src/client/model';
import { firstScope, scopesOf } from '../src/metrics/scopes';
import { footprintThresholds, levelOf, seriesThresholds } from '../src/metrics/thresholds';

const high: MetricConfig = {
  name: 'flops_any',
  unit: { base: 'F/s', prefix: 'G' },
  scope: 'hwthread',
  aggregation: 'sum',
  timestep: 60,
  peak: 4000,
  normal: 1000,
  caution: 200,
  alert: 100,
  lowerIsBetter: false,
};
const low: MetricConfig = { ...high, name: 'mem_used', aggregation: 'sum', peak: 256, normal: 128, caution: 200, alert: 240, lowerIsBetter: true };
const sub = {
  socketsPerNode: 2,
  coresPerSocket: 36,
  threadsPerCore: 1,
  topology: { node: Array.from({ length: 72 }, (_, i) => i), socket: [[0], [1]], memoryDomain: [[0], [1], [2], [3]], core: null, accelerators: null },
} as unknown as SubCluster;

describe('level', () => {
  it.each([
    [50, 'alert'],
    [100, 'alert'],
    [150, 'caution'],
    [200, 'caution'],
    [900, 'normal'],
    [1500, 'above'],
    [4001, 'implausible'],
    [-1, 'implausible'],
    [NaN, 'unrated'],
  ])('higher is better: %d', (value, level) => expect(levelOf(value, high)).toBe(level));
  it.each([
    [10, 'normal'],
    [199, 'normal'],
    [200, 'caution'],
    [239, 'caution'],
    [240, 'alert'],
    [257, 'implausible'],
  ])('lower is better: %d', (value, level) => expect(levelOf(value, low)).toBe(level));
  it('does not judge a metric that has only a peak', () => {
    expect(levelOf(5, { peak: 100, normal: 0, caution: 0, alert: 0, lowerIsBetter: false })).toBe('unrated');
  });
});

describe('scaling', () => {
  it('splits a summed metric over the units of a node, and leaves an averaged one', () => {
    expect(seriesThresholds(high, 'socket', sub).normal).toBe(500);
    expect(seriesThresholds(high, 'core', sub).alert).toBe(1.4);
    expect(seriesThresholds(high, 'node', sub).alert).toBe(100);
    expect(seriesThresholds({ ...high, aggregation: 'avg' }, 'core', sub).alert).toBe(100);
  });
  it('measures extremes of a shared job against its share, without rounding small ones away', () => {
    const job = { shared: 'multi_user' as const, numHWThreads: 18 };
    expect(footprintThresholds(high, 'max', job, sub).peak).toBe(1000);
    expect(footprintThresholds(high, 'avg', job, sub).peak).toBe(4000);
    expect(footprintThresholds({ ...high, alert: 0.5 }, 'min', job, sub).alert).toBe(0.13);
    expect(footprintThresholds(high, 'max', { ...job, shared: 'none' }, sub).peak).toBe(4000);
  });
});

describe('scopes', () => {
  it('offers the native one and all coarser ones', () => {
    expect(scopesOf('core')).toEqual(['node', 'socket', 'memoryDomain', 'core']);
    expect(scopesOf('accelerator')).toEqual(['node', 'accelerator']);
    expect(scopesOf('node')).toEqual(['node']);
  });
  it('compares nodes of a wide job and looks into a narrow one', () => {
    expect(firstScope({ scope: 'hwthread' }, { numNodes: 1 })).toBe('core');
    expect(firstScope({ scope: 'hwthread' }, { numNodes: 4 })).toBe('node');
    expect(firstScope({ scope: 'accelerator' }, { numNodes: 4 })).toBe('accelerator');
  });
});
