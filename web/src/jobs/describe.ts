// Filters and states in words.

import type { JobState } from '../client/model';
import { formatNumber, formatRoughDuration, formatTime } from '../metrics/format';
import type { JobFilter, RangeFilter, StartRange, TextFilter } from './filter';

export const STATE_WORDS: Record<JobState, string> = {
  pending: 'pending',
  running: 'running',
  completed: 'completed',
  failed: 'failed',
  timeout: 'timed out',
  deadline: 'deadline',
  preempted: 'preempted',
  suspended: 'suspended',
  cancelled: 'cancelled',
  out_of_memory: 'out of memory',
  boot_fail: 'boot failure',
  node_fail: 'node failure',
};

/** Pending and suspended are not failures, cancelled is someone's wish. */
export const STATE_KIND: Record<JobState, 'live' | 'good' | 'bad' | 'limit' | 'stopped' | 'waiting'> = {
  pending: 'waiting',
  running: 'live',
  completed: 'good',
  failed: 'bad',
  timeout: 'limit',
  deadline: 'limit',
  preempted: 'stopped',
  suspended: 'waiting',
  cancelled: 'stopped',
  out_of_memory: 'bad',
  boot_fail: 'bad',
  node_fail: 'bad',
};

export const FAILED_STATES: JobState[] = ['failed', 'timeout', 'deadline', 'out_of_memory', 'boot_fail', 'node_fail'];

export const START_WORDS: Record<StartRange, string> = {
  last6h: 'last 6 hours',
  last24h: 'last 24 hours',
  last7d: 'last 7 days',
  last30d: 'last 30 days',
};

export function rangeWords(range: RangeFilter, format: (value: number) => string = (value) => formatNumber(value, 6)): string {
  if (range.from === undefined) return `≤ ${format(range.to ?? 0)}`;
  if (range.to === undefined) return `≥ ${format(range.from)}`;
  return range.from === range.to ? format(range.from) : `${format(range.from)} – ${format(range.to)}`;
}

export function textWords({ match, values }: TextFilter): string {
  if (values.length > 2) return `${values[0]} + ${values.length - 1}`;
  return (match === 'contains' ? '~ ' : '') + values.join(', ');
}

export function stateWords(states: JobState[]): string {
  if (states.length === FAILED_STATES.length && FAILED_STATES.every((state) => states.includes(state))) return 'any failure';
  return states.length > 2 ? `${STATE_WORDS[states[0]!]} + ${states.length - 1}` : states.map((state) => STATE_WORDS[state]).join(', ');
}

export function startWords(start: NonNullable<JobFilter['startTime']>): string {
  return 'range' in start ? START_WORDS[start.range] : rangeWords(start, formatTime);
}

export const durationWords = (range: RangeFilter) => rangeWords(range, formatRoughDuration);

/** Conditions that have no button of their own, each with how to drop it. */
export function furtherConditions(filter: JobFilter): { key: string; text: string; without: JobFilter }[] {
  const drop = <K extends keyof JobFilter>(key: K): JobFilter => {
    const { [key]: _, ...rest } = filter;
    return rest;
  };
  const list: { key: string; text: string; without: JobFilter }[] = [];
  const add = (key: keyof JobFilter, text: string | undefined) => {
    if (text !== undefined) list.push({ key, text, without: drop(key) });
  };
  add('jobName', filter.jobName && `name ~ ${filter.jobName}`);
  add('jobId', filter.jobId && `job ${textWords(filter.jobId)}`);
  add('node', filter.node && `node ${textWords(filter.node)}`);
  add('arrayJobId', filter.arrayJobId === undefined ? undefined : `array ${filter.arrayJobId}`);
  add('shared', filter.shared && { none: 'exclusive nodes', multi_user: 'shared nodes', single_user: 'nodes shared by one user' }[filter.shared]);
  add('schedule', filter.schedule);
  add('numHWThreads', filter.numHWThreads && `${rangeWords(filter.numHWThreads)} threads`);
  add('numAccelerators', filter.numAccelerators && `${rangeWords(filter.numAccelerators)} accelerators`);
  add('energy', filter.energy && `${rangeWords(filter.energy)} kWh`);
  add('tags', filter.tags && (filter.tags.length === 1 ? `tag #${filter.tags[0]}` : `${filter.tags.length} tags`));
  add('dbIds', filter.dbIds && `${filter.dbIds.length} chosen`);
  filter.stats?.forEach((stat, i) =>
    list.push({
      key: `stat-${i}`,
      text: `${stat.key} ${rangeWords(stat)}`,
      without: { ...drop('stats'), ...(filter.stats!.length > 1 ? { stats: filter.stats!.filter((_, at) => at !== i) } : {}) },
    }),
  );
  return list;
}
