import { describe, expect, it } from 'vitest';
import { bounds, clamped, moved, readWindow, writeWindow, zoomed, type Window } from '../src/job/window';

const read = (query: string) => readWindow(new URLSearchParams(query));

describe('in the address', () => {
  it.each<[string, Window]>([
    ['', { kind: 'all' }],
    ['from=60&to=600', { kind: 'range', from: 60, to: 600 }],
    ['last=900', { kind: 'tail', length: 900 }],
    ['from=600&to=60', { kind: 'all' }],
    ['from=-5&to=60', { kind: 'all' }],
    ['from=1e3&to=x', { kind: 'all' }],
  ])('%s', (query, window) => expect(read(query)).toEqual(window));

  it('keeps what else is there', () => {
    const parameters = new URLSearchParams('metrics=a&last=5&from=1&to=90');
    writeWindow({ kind: 'range', from: 59.7, to: 600.2 }, parameters);
    expect(parameters.toString()).toBe('metrics=a&from=60&to=600');
    writeWindow({ kind: 'all' }, parameters);
    expect(parameters.toString()).toBe('metrics=a');
  });
});

describe('moving about', () => {
  it('stays inside the job', () => {
    expect(clamped(-50, 100, 1000)).toEqual({ kind: 'range', from: 0, to: 150 });
    expect(clamped(950, 1100, 1000)).toEqual({ kind: 'range', from: 850, to: 1000 });
    expect(clamped(500, 501, 1000)).toEqual({ kind: 'range', from: 500, to: 510 });
    expect(clamped(0, 2000, 1000)).toEqual({ kind: 'all' });
  });
  it('zooms around a point and out to the whole', () => {
    expect(zoomed({ kind: 'all' }, 0.5, 1000, 250)).toEqual({ kind: 'range', from: 125, to: 625 });
    expect(zoomed({ kind: 'range', from: 125, to: 625 }, 2, 1000)).toEqual({ kind: 'all' });
  });
  it('pans by shares of its length', () => {
    expect(moved({ kind: 'range', from: 100, to: 200 }, 0.5, 1000)).toEqual({ kind: 'range', from: 150, to: 250 });
    expect(moved({ kind: 'range', from: 20, to: 120 }, -0.5, 1000)).toEqual({ kind: 'range', from: 0, to: 100 });
  });
  it('follows a running job', () => {
    expect(bounds({ kind: 'tail', length: 600 }, 1000)).toEqual([400, 1000]);
    expect(bounds({ kind: 'tail', length: 600 }, 100)).toEqual([0, 100]);
    expect(bounds({ kind: 'all' }, 3)).toEqual([0, 10]);
  });
});
