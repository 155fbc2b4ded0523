import { describe, expect, it } from 'vitest';
import { chosenMetrics } from '../src/shell/preferences.svelte';

const KEY = 'metricConfig_jobListMetrics';

describe('chosen metrics', () => {
  it('are nobody’s choice as shipped, and whoever’s where they differ', () => {
    expect(chosenMetrics({}, KEY, 'fritz', 'main')).toEqual([]);
    expect(chosenMetrics({ [KEY]: ['cpu_load', 'flops_any', 'mem_bw', 'mem_used'] }, KEY, 'fritz', 'main')).toEqual([]);
    expect(chosenMetrics({ [KEY]: ['ipc'] }, KEY, 'fritz', 'main')).toEqual(['ipc']);
  });

  it('are the most specific ones', () => {
    const settings = { [KEY]: ['a'], [`${KEY}:fritz`]: ['b'], [`${KEY}:fritz:spr`]: ['c'], [`${KEY}:alex`]: [] };
    expect(chosenMetrics(settings, KEY, 'fritz', 'spr')).toEqual(['c']);
    expect(chosenMetrics(settings, KEY, 'fritz', 'main')).toEqual(['b']);
    expect(chosenMetrics(settings, KEY, 'emmy', 'main')).toEqual(['a']);
    expect(chosenMetrics(settings, KEY, 'alex', 'a100')).toEqual([]);
  });

  it('survive values that are none', () => {
    expect(chosenMetrics({ [KEY]: 'ipc', [`${KEY}:fritz`]: [1] }, KEY, 'fritz', 'main')).toEqual([]);
  });
});
