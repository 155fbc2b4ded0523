// Which jobs: the filter, its address-bar form (the reference's keys; old links keep working) and its
// GraphQL form. What is written is encoded and unambiguous; every old spelling is read.

import { JOB_STATES, type JobFilterInput, type JobOrder, type JobState, type Sharing } from '../client/model';

export type Match = 'eq' | 'contains' | 'in';

export interface TextFilter {
  match: Match;
  values: string[];
}

/** Inclusive; absent is open. */
export interface RangeFilter {
  from?: number;
  to?: number;
}

export const START_RANGES = ['last6h', 'last24h', 'last7d', 'last30d'] as const;
export type StartRange = (typeof START_RANGES)[number];

export const RANGE_KEYS = ['duration', 'numNodes', 'numHWThreads', 'numAccelerators', 'energy'] as const;
export type RangeKey = (typeof RANGE_KEYS)[number];

export interface JobFilter {
  cluster?: string;
  subCluster?: string;
  partition?: string;
  states?: JobState[];
  shared?: Sharing;
  schedule?: 'interactive' | 'batch';
  user?: TextFilter;
  project?: TextFilter;
  jobName?: string;
  jobId?: TextFilter;
  arrayJobId?: number;
  dbIds?: string[];
  tags?: number[];
  startTime?: { range: StartRange } | RangeFilter;
  duration?: RangeFilter;
  numNodes?: RangeFilter;
  numHWThreads?: RangeFilter;
  numAccelerators?: RangeFilter;
  energy?: RangeFilter;
  /** Keys such as `flops_any_avg`. */
  stats?: ({ key: string } & RangeFilter)[];
  node?: TextFilter;
}

/** Everything about a job list that its address says. */
export interface ListState {
  filter: JobFilter;
  order: JobOrder;
  page: number;
  size: number;
  /** Metrics plotted per row; empty: the site's choice. */
  metrics: string[];
}

export const DEFAULT_ORDER: JobOrder = { field: 'startTime', type: 'col', order: 'DESC' };
export const PAGE_SIZES = [25, 50, 100] as const;

const NUMBER = String.raw`-?\d+(?:\.\d+)?(?:e[+-]?\d+)?`;
const BETWEEN = new RegExp(`^(${NUMBER})?-(${NUMBER})?$`, 'i');
const BOUND = new RegExp(`^(lessthan|morethan)-(${NUMBER})$`, 'i');

function readRange(text: string | null): RangeFilter | undefined {
  if (text === null) return undefined;
  const bound = BOUND.exec(text);
  if (bound) {
    const value = Number(bound[2]);
    return bound[1]!.toLowerCase() === 'lessthan' ? { to: value } : { from: value };
  }
  const between = BETWEEN.exec(text);
  if (!between) return undefined;
  const range: RangeFilter = {};
  // On the reference's wire 0 stands for "open".
  if (between[1] !== undefined && Number(between[1]) !== 0) range.from = Number(between[1]);
  if (between[2] !== undefined && Number(between[2]) !== 0) range.to = Number(between[2]);
  return range.from === undefined && range.to === undefined ? undefined : range;
}

function writeRange(range: RangeFilter): string {
  if (range.from === undefined) return `lessthan-${range.to ?? 0}`;
  if (range.to === undefined) return `morethan-${range.from}`;
  return `${range.from}-${range.to}`;
}

function readText(parameters: URLSearchParams, key: string, fallback: Match): TextFilter | undefined {
  const values = parameters.getAll(key).filter((value) => value !== '');
  if (values.length === 0) return undefined;
  if (values.length > 1) return { match: 'in', values };
  const match = parameters.get(`${key}Match`);
  return { match: match === 'eq' || match === 'contains' ? match : match === 'in' ? 'eq' : fallback, values };
}

/** What a link without `…Match` meant in the reference. */
const IMPLIED: Record<'user' | 'project' | 'jobId' | 'node', Match> = {
  user: 'contains',
  project: 'eq',
  jobId: 'eq',
  node: 'eq',
};

export function readFilter(parameters: URLSearchParams): JobFilter {
  const filter: JobFilter = {};
  for (const key of ['cluster', 'subCluster', 'partition', 'jobName'] as const) {
    const value = parameters.get(key);
    if (value) filter[key] = value;
  }
  const states = parameters.getAll('state').filter((state): state is JobState => JOB_STATES.includes(state as JobState));
  if (states.length > 0 && states.length < JOB_STATES.length) filter.states = [...new Set(states)];
  const shared = parameters.get('shared');
  if (shared === 'none' || shared === 'multi_user' || shared === 'single_user') filter.shared = shared;
  const schedule = parameters.get('schedule');
  if (schedule === 'interactive' || schedule === 'batch') filter.schedule = schedule;
  for (const key of ['user', 'project', 'jobId', 'node'] as const) {
    const text = readText(parameters, key, IMPLIED[key]);
    if (text) filter[key] = text;
  }
  const array = parameters.get('arrayJobId');
  if (array && /^\d+$/.test(array)) filter.arrayJobId = Number(array);
  const dbIds = parameters.getAll('dbId').filter((id) => /^\d+$/.test(id));
  if (dbIds.length > 0) filter.dbIds = dbIds;
  const tags = parameters.getAll('tag').filter((id) => /^\d+$/.test(id));
  if (tags.length > 0) filter.tags = tags.map(Number);
  const start = parameters.get('startTime');
  if (start !== null) {
    if (START_RANGES.includes(start as StartRange)) filter.startTime = { range: start as StartRange };
    else {
      const range = readRange(start);
      if (range) filter.startTime = range;
    }
  }
  for (const key of RANGE_KEYS) {
    const range = readRange(parameters.get(key));
    if (range) filter[key] = range;
  }
  const stats = parameters.getAll('stat').flatMap((text) => {
    const found =
      /^(.+)-((?:lessthan|morethan)-[^-].*)$/i.exec(text) ?? new RegExp(`^(.+)-(${NUMBER}-${NUMBER})$`, 'i').exec(text);
    const range = found ? readRange(found[2]!) : undefined;
    return range ? [{ key: found![1]!, ...range }] : [];
  });
  if (stats.length > 0) filter.stats = stats;
  return filter;
}

export function writeFilter(filter: JobFilter, parameters = new URLSearchParams()): URLSearchParams {
  for (const key of ['cluster', 'subCluster', 'partition', 'jobName', 'shared', 'schedule'] as const) {
    const value = filter[key];
    if (value) parameters.append(key, value);
  }
  for (const state of filter.states ?? []) parameters.append('state', state);
  for (const key of ['user', 'project', 'jobId', 'node'] as const) {
    const text = filter[key];
    if (!text) continue;
    for (const value of text.values) parameters.append(key, value);
    if (text.values.length === 1 && text.match !== IMPLIED[key]) parameters.append(`${key}Match`, text.match);
  }
  if (filter.arrayJobId !== undefined) parameters.append('arrayJobId', String(filter.arrayJobId));
  for (const id of filter.dbIds ?? []) parameters.append('dbId', id);
  for (const id of filter.tags ?? []) parameters.append('tag', String(id));
  if (filter.startTime)
    parameters.append('startTime', 'range' in filter.startTime ? filter.startTime.range : writeRange(filter.startTime));
  for (const key of RANGE_KEYS) if (filter[key]) parameters.append(key, writeRange(filter[key]));
  for (const { key, ...range } of filter.stats ?? []) parameters.append('stat', `${key}-${writeRange(range)}`);
  return parameters;
}

export function readList(parameters: URLSearchParams): ListState {
  const sort = /^(-?)(foot:)?([A-Za-z0-9_]+)$/.exec(parameters.get('sort') ?? '');
  const size = Number(parameters.get('size'));
  const page = Number(parameters.get('page'));
  return {
    filter: readFilter(parameters),
    order: sort
      ? { field: sort[3]!, type: sort[2] ? 'foot' : 'col', order: sort[1] ? 'DESC' : 'ASC' }
      : { ...DEFAULT_ORDER },
    page: Number.isInteger(page) && page > 0 ? page : 1,
    size: (PAGE_SIZES as readonly number[]).includes(size) ? size : PAGE_SIZES[0],
    metrics: (parameters.get('metrics') ?? '').split(',').filter(Boolean),
  };
}

export function writeList(state: ListState): URLSearchParams {
  const parameters = writeFilter(state.filter);
  const { field, type, order } = state.order;
  if (field !== DEFAULT_ORDER.field || type !== DEFAULT_ORDER.type || order !== DEFAULT_ORDER.order)
    parameters.set('sort', `${order === 'DESC' ? '-' : ''}${type === 'foot' ? 'foot:' : ''}${field}`);
  if (state.page > 1) parameters.set('page', String(state.page));
  if (state.size !== PAGE_SIZES[0]) parameters.set('size', String(state.size));
  if (state.metrics.length > 0) parameters.set('metrics', state.metrics.join(','));
  return parameters;
}

/** The conditions as the server takes them, one per element. */
export function filterInput(filter: JobFilter): JobFilterInput {
  const conditions: JobFilterInput = [];
  const add = (condition: Record<string, unknown>) => conditions.push(condition);
  // On the wire 0 is "open".
  const range = ({ from, to }: RangeFilter) => ({ from: from ?? 0, to: to ?? 0 });
  const whole = ({ from, to }: RangeFilter) => ({
    from: from === undefined ? 0 : Math.ceil(from),
    to: to === undefined ? 0 : Math.floor(to),
  });
  const text = ({ match, values }: TextFilter) => (values.length > 1 || match === 'in' ? { in: values } : { [match]: values[0] });
  if (filter.dbIds) add({ dbId: filter.dbIds });
  for (const key of ['cluster', 'subCluster', 'partition'] as const) if (filter[key]) add({ [key]: { eq: filter[key] } });
  if (filter.states) add({ state: filter.states });
  if (filter.shared) add({ shared: filter.shared });
  for (const key of ['project', 'user'] as const) if (filter[key]) add({ [key]: text(filter[key]) });
  for (const key of ['numNodes', 'numAccelerators', 'numHWThreads'] as const)
    if (filter[key]) add({ [key]: whole(filter[key]) });
  if (filter.arrayJobId !== undefined) add({ arrayJobId: filter.arrayJobId });
  if (filter.tags) add({ tags: filter.tags });
  if (filter.startTime) {
    if ('range' in filter.startTime) add({ startTime: { range: filter.startTime.range } });
    else {
      const time = (at: number | undefined) => (at === undefined ? null : new Date(at * 1000).toISOString());
      add({ startTime: { from: time(filter.startTime.from), to: time(filter.startTime.to) } });
    }
  }
  if (filter.duration) add({ duration: whole(filter.duration) });
  if (filter.energy) add({ energy: range(filter.energy) });
  if (filter.jobId) add({ jobId: text(filter.jobId) });
  if (filter.stats?.length)
    add({ metricStats: filter.stats.map(({ key, ...bounds }) => ({ metricName: key, range: range(bounds) })) });
  if (filter.node) add({ node: text(filter.node) });
  if (filter.jobName) add({ jobName: { contains: filter.jobName } });
  if (filter.schedule) add({ schedule: filter.schedule });
  return conditions;
}

/** Seconds from `90`, `90s`, `15m`, `2h`, `1d`, `1:30` (h:mm) or `1:30:00`; undefined where it is none. */
export function readDuration(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === '') return undefined;
  const clock = /^(\d+):(\d{1,2})(?::(\d{1,2}))?$/.exec(trimmed);
  if (clock) return Number(clock[1]) * 3600 + Number(clock[2]) * 60 + Number(clock[3] ?? 0);
  const parts = [...trimmed.matchAll(/(\d+(?:\.\d+)?)\s*(d|h|m|s)?/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('').length !== trimmed.replaceAll(/\s+(?=\d)/g, '').length)
    return undefined;
  const seconds: Record<string, number> = { d: 86400, h: 3600, m: 60, s: 1 };
  return Math.round(parts.reduce((sum, part) => sum + Number(part[1]) * seconds[part[2] ?? 's']!, 0));
}
