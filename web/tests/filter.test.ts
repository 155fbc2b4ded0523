import { describe, expect, it } from 'vitest';
import { filterInput, readDuration, readFilter, readList, writeFilter, writeList, type JobFilter } from '../src/jobs/filter';

const read = (query: string) => readFilter(new URLSearchParams(query));
const write = (filter: JobFilter) => writeFilter(filter).toString();

describe('links of the reference', () => {
  it.each<[string, JobFilter]>([
    ['cluster=alex&state=running', { cluster: 'alex', states: ['running'] }],
    ['state=failed&state=timeout&state=nonsense', { states: ['failed', 'timeout'] }],
    ['project=abc', { project: { match: 'eq', values: ['abc'] } }],
    ['projectMatch=eq&project=abc', { project: { match: 'eq', values: ['abc'] } }],
    ['user=abc', { user: { match: 'contains', values: ['abc'] } }],
    ['user=abc&userMatch=eq', { user: { match: 'eq', values: ['abc'] } }],
    ['user=abc&user=def', { user: { match: 'in', values: ['abc', 'def'] } }],
    ['jobId=17', { jobId: { match: 'eq', values: ['17'] } }],
    ['jobId=17&jobId=18', { jobId: { match: 'in', values: ['17', '18'] } }],
    ['startTime=1700000000-1700003600', { startTime: { from: 1700000000, to: 1700003600 } }],
    ['startTime=last30d', { startTime: { range: 'last30d' } }],
    ['startTime=lastcentury', {}],
    ['duration=lessthan-300', { duration: { to: 300 } }],
    ['duration=morethan-300', { duration: { from: 300 } }],
    ['numNodes=2-4&numHWThreads=0-72', { numNodes: { from: 2, to: 4 }, numHWThreads: { to: 72 } }],
    ['energy=1.5-2.75', { energy: { from: 1.5, to: 2.75 } }],
    ['stat=flops_any_avg-10-20', { stats: [{ key: 'flops_any_avg', from: 10, to: 20 }] }],
    ['stat=mem-used_max-lessthan-0.5', { stats: [{ key: 'mem-used_max', to: 0.5 }] }],
    ['node=a0603&nodeMatch=contains', { node: { match: 'contains', values: ['a0603'] } }],
    ['arrayJobId=x&tag=3&tag=y&dbId=4', { tags: [3], dbIds: ['4'] }],
    ['numNodes=two&duration=-&energy=', {}],
  ])('%s', (query, filter) => expect(read(query)).toEqual(filter));
});

describe('a link reproduces the filter that made it', () => {
  it.each<JobFilter>([
    { user: { match: 'eq', values: ['a&b=c'] }, project: { match: 'contains', values: ['x y'] } },
    { duration: { from: 60, to: 90 }, energy: { from: 0.25 }, numAccelerators: { to: 8 } },
    { stats: [{ key: 'a-b_avg', from: 0.1, to: 0.25 }, { key: 'ipc_avg', from: 1 }] },
    { startTime: { from: 1700000000 }, states: ['out_of_memory', 'cancelled'], shared: 'multi_user', schedule: 'batch' },
    { node: { match: 'contains', values: ['%'] }, jobName: 'run #1?', partition: 'p', subCluster: 's', cluster: 'c' },
    { jobId: { match: 'in', values: ['1', '2'] }, dbIds: ['9'], tags: [1, 2], arrayJobId: 7 },
  ])('%o', (filter) => expect(read(write(filter))).toEqual(filter));

  it('leaves nothing in the address for the default list', () => {
    expect(writeList(readList(new URLSearchParams())).toString()).toBe('');
  });

  it('keeps order, page and metrics', () => {
    const query = 'sort=-foot%3Amem_used_max&page=3&size=50&metrics=ipc%2Cmem_bw';
    expect(writeList(readList(new URLSearchParams(query))).toString()).toBe(query);
  });
});

it('makes the conditions the server takes', () => {
  expect(
    filterInput({
      cluster: 'alex',
      states: ['running'],
      user: { match: 'in', values: ['a', 'b'] },
      project: { match: 'contains', values: ['p'] },
      numNodes: { from: 2 },
      startTime: { from: 1700000000 },
      duration: { to: 300 },
      stats: [{ key: 'ipc_avg', from: 0.5, to: 2 }],
      jobName: 'x',
    }),
  ).toEqual([
    { cluster: { eq: 'alex' } },
    { state: ['running'] },
    { project: { contains: 'p' } },
    { user: { in: ['a', 'b'] } },
    { numNodes: { from: 2, to: 0 } },
    { startTime: { from: '2023-11-14T22:13:20.000Z', to: null } },
    { duration: { from: 0, to: 300 } },
    { metricStats: [{ metricName: 'ipc_avg', range: { from: 0.5, to: 2 } }] },
    { jobName: { contains: 'x' } },
  ]);
});

it.each([
  ['90', 90],
  ['15m', 900],
  ['1h 30m', 5400],
  ['1:30', 5400],
  ['1:30:05', 5405],
  ['2d', 172800],
  ['1.5h', 5400],
  ['', undefined],
  ['soon', undefined],
  ['5x', undefined],
])('duration %s', (text, seconds) => expect(readDuration(text)).toBe(seconds));
