// The one door to the back end. Views know this interface and nothing of HTTP or GraphQL.

import type { Frame } from './frame';
import type { Catalog, Job, JobDetail, JobFilterInput, JobOrder, JobPage, Me, Scope } from './model';

export interface SeriesQuestion {
  metrics: string[];
  scope: Scope;
  /** Unix seconds; absent: from the job's start, to its end or now. */
  from?: number | undefined;
  to?: number | undefined;
  /** Most values per series. */
  points?: number | undefined;
  /** Seconds per value instead of `points`; for continuing a frame. */
  resolution?: number | undefined;
  /** Only values from here on. */
  since?: number | undefined;
  /** Spread over all series per point: along with them, or instead of them. */
  spread?: 'with' | 'only' | undefined;
}

export interface JobQuestion {
  filter: JobFilterInput;
  order: JobOrder;
  size: number;
}

export const MOST_ROWS = 32;

export type Settings = Record<string, unknown>;

export interface Client {
  /** Who is logged in. Throws NotAuthenticated where nobody is. */
  me(signal?: AbortSignal): Promise<Me>;
  /** Throws NotAuthenticated with the reason where the door stays shut. */
  login(username: string, password: string): Promise<void>;
  logout(): Promise<void>;
  catalog(signal?: AbortSignal): Promise<Catalog>;
  jobs(filter: JobFilterInput, order: JobOrder, page: number, size: number, signal?: AbortSignal): Promise<JobPage>;
  /** The beginnings of several lists, in one request. */
  beginnings(questions: JobQuestion[], signal?: AbortSignal): Promise<Job[][]>;
  /** Numbers of matching jobs, one per filter, in one request. */
  counts(filters: JobFilterInput[], signal?: AbortSignal): Promise<number[]>;
  /** Throws NotFound where there is no such job or one may not see it. */
  job(id: number, signal?: AbortSignal): Promise<JobDetail>;
  series(jobId: number, question: SeriesQuestion, signal?: AbortSignal): Promise<Frame>;
  /** Small curves of at most MOST_ROWS jobs at node level, by job id; jobs one may not see are left out. */
  rows(jobIds: number[], metrics: string[], points: number, signal?: AbortSignal): Promise<Map<number, Frame>>;
  /** The site's and one's own settings, by the reference's keys. */
  settings(signal?: AbortSignal): Promise<Settings>;
  /** Keep a setting of one's own. */
  keep(key: string, value: unknown): Promise<void>;
}

/** What went wrong, in words for people; `detail` is for those who report it. */
export class ClientError extends Error {
  override name = 'ClientError';
  constructor(
    message: string,
    readonly detail = '',
  ) {
    super(message);
  }
}

export class NotAuthenticated extends ClientError {
  override name = 'NotAuthenticated';
}

export class NotFound extends ClientError {
  override name = 'NotFound';
}

export class Forbidden extends ClientError {
  override name = 'Forbidden';
}

/** A part of the system does not answer now; trying again later is right. */
export class Unavailable extends ClientError {
  override name = 'Unavailable';
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}
