// A list that is looked at again, unasked: rows change where they stand, and none moves or goes.

import type { Job, JobPage } from '../client/model';

/** Shown jobs that ran and are no longer on the page: what became of them has to be asked. */
export function departed(shown: JobPage, next: JobPage): number[] {
  const there = new Set(next.jobs.map((job) => job.id));
  return shown.jobs.filter((job) => job.state === 'running' && !there.has(job.id)).map((job) => job.id);
}

/** What is shown now, and how many jobs of the newer page wait to be. `found`: what became of the departed. */
export function inPlace(shown: JobPage, next: JobPage, found: Job[]): { page: JobPage; fresh: number } {
  const newest = new Map([...found, ...next.jobs].map((job) => [job.id, job]));
  const known = new Set(shown.jobs.map((job) => job.id));
  return {
    page: { ...next, jobs: shown.jobs.map((job) => newest.get(job.id) ?? job) },
    fresh: next.jobs.filter((job) => !known.has(job.id)).length,
  };
}
