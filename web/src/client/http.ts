import {
  ClientError,
  Forbidden,
  NotAuthenticated,
  NotFound,
  Unavailable,
  isAbort,
  type Client,
  type JobQuestion,
  type SeriesQuestion,
  type Settings,
} from './client';
import { decodeFrame, decodeFrames, type Frame } from './frame';
import type { Catalog, Job, JobDetail, JobFilterInput, JobOrder, JobPage, Me, Role } from './model';
import { CATALOG, JOB, JOBS, beginningsDocument, countsDocument } from './queries';

type Raw = Record<string, any>; // eslint-disable-line -- wire documents are checked where they are read

/** The back end on the same host: GraphQL at `/query`, frames at `/frontend/job/{id}/series`. */
export class HttpClient implements Client {
  async me(signal?: AbortSignal): Promise<Me> {
    const raw = (await (await this.request('/frontend/me', { signal })).json()) as Raw;
    return {
      username: String(raw.username ?? ''),
      name: String(raw.name ?? ''),
      roles: (raw.roles ?? []) as Role[],
      projects: (raw.projects ?? []) as string[],
    };
  }

  // With a slash: some gateways keep the bare names for themselves.
  async login(username: string, password: string): Promise<void> {
    await this.request('/login/', {
      method: 'POST',
      body: new URLSearchParams({ username, password }),
    });
  }

  async logout(): Promise<void> {
    await this.request('/logout/', { method: 'POST' });
  }

  async catalog(signal?: AbortSignal): Promise<Catalog> {
    const data = await this.query(CATALOG, {}, signal);
    return { clusters: data.clusters, metrics: data.globalMetrics } as Catalog;
  }

  async jobs(
    filter: JobFilterInput,
    order: JobOrder,
    page: number,
    size: number,
    signal?: AbortSignal,
  ): Promise<JobPage> {
    const data = await this.query(JOBS, { filter, order, page: { itemsPerPage: size, page } }, signal);
    const { items, count, hasNextPage } = data.jobs as Raw;
    return { jobs: (items as Raw[]).map(readJob), count: Number(count ?? 0), hasNextPage: Boolean(hasNextPage) };
  }

  async beginnings(questions: JobQuestion[], signal?: AbortSignal): Promise<Job[][]> {
    if (questions.length === 0) return [];
    const variables = Object.fromEntries(
      questions.flatMap(({ filter, order, size }, i) => [
        [`f${i}`, filter],
        [`o${i}`, order],
        [`p${i}`, { itemsPerPage: size, page: 1 }],
      ]),
    );
    const data = await this.query(beginningsDocument(questions.length), variables, signal);
    return questions.map((_, i) => ((data[`n${i}`]?.items ?? []) as Raw[]).map(readJob));
  }

  async counts(filters: JobFilterInput[], signal?: AbortSignal): Promise<number[]> {
    if (filters.length === 0) return [];
    const variables = Object.fromEntries(filters.map((filter, i) => [`f${i}`, filter]));
    const data = await this.query(countsDocument(filters.length), variables, signal);
    return filters.map((_, i) => Number(data[`n${i}`]?.count ?? 0));
  }

  async job(id: number, signal?: AbortSignal): Promise<JobDetail> {
    const data = await this.query(JOB, { id: String(id) }, signal, true);
    if (!data.job) throw new NotFound(`There is no job with id ${id}, or it is not yours to see.`);
    return readDetail(data.job as Raw);
  }

  async series(jobId: number, question: SeriesQuestion, signal?: AbortSignal): Promise<Frame> {
    const parameters = new URLSearchParams();
    for (const metric of question.metrics) parameters.append('metric', metric);
    parameters.append('scope', question.scope);
    for (const key of ['from', 'to', 'points', 'resolution', 'since'] as const) {
      const value = question[key];
      if (value !== undefined) parameters.append(key, String(value));
    }
    if (question.spread) parameters.append('statistics', question.spread === 'only' ? 'only' : '1');
    const answer = await this.request(`/frontend/job/${jobId}/series?${parameters.toString()}`, { signal });
    return decodeFrame(await answer.arrayBuffer());
  }

  async rows(jobIds: number[], metrics: string[], points: number, signal?: AbortSignal): Promise<Map<number, Frame>> {
    const parameters = new URLSearchParams();
    for (const id of jobIds) parameters.append('id', String(id));
    for (const metric of metrics) parameters.append('metric', metric);
    parameters.append('points', String(points));
    const answer = await this.request(`/frontend/jobs/series?${parameters.toString()}`, { signal });
    return decodeFrames(await answer.arrayBuffer());
  }

  async settings(signal?: AbortSignal): Promise<Settings> {
    return (await (await this.request('/frontend/configuration/', { signal })).json()) as Settings;
  }

  async keep(key: string, value: unknown): Promise<void> {
    await this.request('/frontend/configuration/', {
      method: 'POST',
      body: new URLSearchParams({ key, value: JSON.stringify(value) }),
    });
  }

  private async query(document: string, variables: Raw, signal?: AbortSignal, partial = false): Promise<Raw> {
    const answer = await this.request('/query', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: document, variables }),
      signal,
    });
    const { data, errors } = (await answer.json()) as { data: Raw | null; errors?: { message: string }[] };
    if (errors?.length && !(partial && data)) {
      throw new ClientError('The server could not answer the question.', errors.map((e) => e.message).join('\n'));
    }
    return data ?? {};
  }

  private async request(path: string, init: RequestInit & { signal?: AbortSignal | undefined }): Promise<Response> {
    let answer: Response;
    try {
      answer = await fetch(path, {
        ...init,
        signal: init.signal ?? null,
        credentials: 'same-origin',
        headers: { accept: 'application/json', ...init.headers },
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new Unavailable('The server cannot be reached.', String(error));
    }
    if (answer.ok) return answer;
    throw await failure(answer, path);
  }
}

async function failure(answer: Response, path: string): Promise<ClientError> {
  const text = (await answer.text().catch(() => '')).slice(0, 2000);
  let reason = '';
  if (answer.headers.get('content-type')?.includes('json')) {
    try {
      const body = JSON.parse(text) as Raw;
      reason = String(body.error ?? body.message ?? body.errors?.[0]?.message ?? '');
    } catch {
      // Not JSON after all: the status says enough.
    }
  } else if (answer.headers.get('content-type')?.startsWith('text/plain')) reason = text;
  const detail = `${answer.status} ${answer.statusText} · ${path.split('?')[0]}${reason ? `\n${reason}` : ''}`;
  switch (answer.status) {
    case 401:
      return new NotAuthenticated(reason || 'You are not logged in.', detail);
    case 403:
      return new Forbidden(reason || 'Your role does not allow this.', detail);
    case 404:
      return new NotFound(reason || 'There is no such thing.', detail);
    case 413:
      return new ClientError(reason || 'The answer would be too large. Narrow the window.', detail);
    case 502:
    case 503:
    case 504:
      return new Unavailable(reason || 'The metric store does not answer at the moment.', detail);
    default:
      return new ClientError(reason || 'The server could not answer.', detail);
  }
}

function seconds(time: unknown): number {
  return typeof time === 'number' ? time : Math.floor(Date.parse(String(time)) / 1000);
}

function readJob(raw: Raw): Job {
  return {
    id: Number(raw.id),
    jobId: Number(raw.jobId),
    user: raw.user,
    userName: raw.userData?.name ?? '',
    project: raw.project,
    cluster: raw.cluster,
    subCluster: raw.subCluster,
    partition: raw.partition ?? '',
    arrayJobId: Number(raw.arrayJobId ?? 0),
    startTime: seconds(raw.startTime),
    duration: raw.duration,
    walltime: raw.walltime ?? 0,
    numNodes: raw.numNodes,
    numHWThreads: raw.numHWThreads ?? 0,
    numAcc: raw.numAcc ?? 0,
    energy: raw.energy ?? 0,
    smt: raw.SMT ?? 0,
    shared: raw.shared,
    monitoringStatus: raw.monitoringStatus,
    state: raw.state,
    tags: raw.tags ?? [],
    resources: (raw.resources ?? []).map((r: Raw) => ({
      hostname: r.hostname,
      hwthreads: r.hwthreads ?? null,
      accelerators: r.accelerators ?? null,
    })),
    footprint: raw.footprint ?? [],
    jobName: raw.jobName ?? '',
    message: raw.message ?? '',
  };
}

function readDetail(raw: Raw): JobDetail {
  const meta = (raw.metaData ?? {}) as Record<string, string | undefined>;
  return {
    ...readJob(raw),
    email: raw.userData?.email ?? '',
    jobScript: meta.jobScript ?? '',
    slurmInfo: meta.slurmInfo ?? '',
    energyFootprint: raw.energyFootprint ?? [],
    concurrentJobs: raw.concurrentJobs
      ? { items: raw.concurrentJobs.items ?? [], listQuery: raw.concurrentJobs.listQuery ?? '' }
      : null,
  };
}
