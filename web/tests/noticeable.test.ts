import { describe, expect, it } from 'vitest';
import type { Cluster, Job, MetricConfig, SubCluster } from '../src/client/model';
import { folded, noticeable, noticeableQuestions } from '../src/jobs/noticeable';

const metric = (name: string, more: Partial<MetricConfig> = {}) =>
  ({ name, unit: { base: '', prefix: '' }, scope: 'node', aggregation: 'avg', timestep: 60, peak: 100, normal: 50, caution: 20, alert: 10, lowerIsBetter: false, ...more }) as MetricConfig;
const sub = { name: 'main', topology: {}, footprint: ['load', 'memory', 'bare'], metricConfig: [metric('load'), metric('memory', { lowerIsBetter: true, caution: 70, alert: 90 }), metric('bare', { alert: 0, caution: 0, normal: 0 }), metric('other')] } as unknown as SubCluster;
const job = (id: number, footprint: Record<string, number>, more: Partial<Job> = {}) =>
  ({ id, startTime: id, numNodes: 1, numAcc: 0, shared: 'none', numHWThreads: 8, footprint: Object.entries(footprint).map(([name, value]) => ({ name, stat: 'avg', value })), ...more }) as Job;

describe('noticeable jobs', () => {
  it('are looked for at the bad end of what jobs are judged by', () => {
    const questions = noticeableQuestions([{ name: 'c', partitions: [], subClusters: [sub] } as Cluster], (name) => (name === 'memory' ? 'max' : ''), 5);
    expect(questions.map(({ order }) => [order.field, order.order])).toEqual([
      ['load_avg', 'ASC'],
      ['memory_max', 'DESC'],
    ]);
    expect(questions[0]!.filter).toContainEqual({ state: ['running'] });
  });

  it('come worst first, once, with what is wrong', () => {
    const jobs = [job(1, { load: 60 }), job(2, { load: 15 }), job(3, { load: 5 }), job(3, { load: 5 }), job(4, { load: 5, memory: 95 }), job(5, { load: 5 }, { numNodes: 64 })];
    const found = noticeable(jobs, () => sub, 9);
    expect(found.jobs.map(({ id }) => id)).toEqual([5, 4, 3, 2]);
    expect(found.findings.get(4)!.map(({ name, level }) => [name, level])).toEqual([
      ['load', 'alert'],
      ['memory', 'alert'],
    ]);
    expect(noticeable(jobs, () => sub, 2).jobs).toHaveLength(2);
    expect(noticeable(jobs, () => undefined, 9).jobs).toEqual([]);
  });
});

describe('folding', () => {
  it('shows the first of an array and counts the others', () => {
    const jobs = [job(9, {}), job(8, {}, { arrayJobId: 5, cluster: 'c' }), job(7, {}, { arrayJobId: 5, cluster: 'c' }), job(6, {}, { arrayJobId: 5, cluster: 'd' }), job(5, {})];
    const { jobs: shown, others } = folded(jobs, 3);
    expect(shown.map(({ id }) => id)).toEqual([9, 8, 6]);
    expect([...others]).toEqual([[8, 1]]);
  });
});
