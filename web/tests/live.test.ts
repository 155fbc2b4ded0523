import { describe, expect, it } from 'vitest';
import type { Job, JobPage } from '../src/client/model';
import { departed, inPlace } from '../src/jobs/live';

const job = (id: number, state = 'running') => ({ id, state }) as Job;
const page = (...jobs: Job[]): JobPage => ({ jobs, count: jobs.length, hasNextPage: false });

describe('a list looked at again', () => {
  it('keeps its rows in their places, with what became of them', () => {
    const shown = page(job(3), job(2), job(1, 'failed'));
    const next = page(job(5), job(4), job(2, 'completed'));
    expect(departed(shown, next)).toEqual([3]);
    const { page: now, fresh } = inPlace(shown, next, [job(3, 'timeout')]);
    expect(now.jobs.map(({ id, state }) => [id, state])).toEqual([
      [3, 'timeout'],
      [2, 'completed'],
      [1, 'failed'],
    ]);
    expect(fresh).toBe(2);
    expect(now.count).toBe(3);
  });

  it('has nothing new where nothing came', () => {
    const shown = page(job(2), job(1));
    expect(departed(shown, shown)).toEqual([]);
    expect(inPlace(shown, page(job(2)), []).fresh).toBe(0);
  });
});
