// The one door to the back end. Views know this interface and nothing of HTTP or GraphQL.

import type { Frame } from './frame';
import type { Catalog, JobDetail, JobFilterInput, JobOrder, JobPage, Me, Scope } from './model';

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

export interface Client {
  /** Who is logged in. Throws NotAuthenticated where nobody is. */
  me(signal?: AbortSignal): Promise<Me>;
  /** Throws NotAuthenticated with the reason where the door stays shut. */
  login(username: string, password: string): Promise<void>;
  logout(): Promise<void>;
  catalog(signal?: AbortSignal): Promise<Catalog>;
  jobs(filter: JobFilterInput, order: JobOrder, page: number, size: number, signal?: AbortSignal): Promise<JobPage>;
  /** Numbers of matching jobs, one per filter, in one request. */
  counts(filters: JobFilterInput[], signal?: AbortSignal): Promise<number[]>;
  /** Throws NotFound where there is no such job or one may not see it. */
  job(id: number, signal?: AbortSignal): Promise<JobDetail>;
  series(jobId: number, question: SeriesQuestion, signal?: AbortSignal): Promise<Frame>;
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
