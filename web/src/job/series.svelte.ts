// The curves of one job: an overview of all of it, and the window at the resolution of the screen. Few
// requests (metrics of one scope go together), stale ones cancelled, running jobs continued at their end.

import { SvelteMap } from 'svelte/reactivity';
import { isAbort, type SeriesQuestion } from '../client/client';
import { continueFrame, type Frame, type MetricSeries } from '../client/frame';
import type { JobDetail, Scope } from '../client/model';
import { client, session } from '../shell/session.svelte';

export interface Wanted {
  metric: string;
  scope: Scope;
  /** How many curves to expect. */
  count: number;
}

/** More curves than this are shown as their spread; far more are not even sent. */
export const MANY = 16;
const TOO_MANY = 192;
/** Beyond the window's edges, so that lines run off the plot. */
const MARGIN = 0.02;

interface Part {
  question: SeriesQuestion;
  frame: Frame;
}

export function seriesKey(metric: string, scope: Scope): string {
  return `${metric}\0${scope}`;
}
const key = seriesKey;

/** How much a metric goes up and down: spread of its first curve relative to its mean. */
export function variation(metric: MetricSeries): number {
  const values = metric.spread?.median ?? metric.series[0]?.mean ?? [];
  let count = 0;
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    count += 1;
    sum += value;
    squares += value * value;
  }
  const mean = sum / count;
  return count > 2 && mean > 0 ? Math.min(5, Math.sqrt(Math.max(0, squares / count - mean * mean)) / mean) : 0;
}

/** Frames of several questions as one look-up. */
class Layer {
  readonly parts: Part[] = [];
  readonly series = new SvelteMap<string, MetricSeries>();
  readonly failures = new SvelteMap<string, unknown>();
  errors = $state.raw<string[]>([]);

  put(question: SeriesQuestion, frame: Frame): void {
    this.parts.push({ question, frame });
    this.show(question, frame);
  }

  show(question: SeriesQuestion, frame: Frame): void {
    for (const metric of question.metrics) this.failures.delete(key(metric, question.scope));
    // A scope finer than was measured is answered with the metric's own.
    for (const metric of question.metrics) {
      const found = frame.metrics.find((one) => one.name === metric);
      this.series.set(
        key(metric, question.scope),
        found ?? { name: metric, scope: question.scope, unit: { base: '', prefix: '' }, nativeTimestep: 60, series: [], spread: null },
      );
    }
    this.errors = [...new Set(this.parts.flatMap((part) => part.frame.errors))];
  }

  clear(): void {
    this.parts.length = 0;
    this.series.clear();
    this.failures.clear();
    this.errors = [];
  }
}

export class JobSeries {
  readonly overview = new Layer();
  readonly detail = new Layer();
  /** Times the detail was asked for, Unix seconds; null: the overview is what is shown. */
  detailOf = $state.raw<[number, number] | null>(null);
  busy = $state(0);
  /** The server's clock at the last answer. */
  now = $state(0);
  private wanted: Wanted[] = [];
  private readonly stopAll = new AbortController();
  private stopDetail = new AbortController();
  private polls = 0;
  private readonly asked = new Set<string>();

  constructor(
    public job: JobDetail,
    public points: number,
  ) {}

  dispose(): void {
    this.stopAll.abort();
    this.stopDetail.abort();
  }

  /** What to show of a metric now, and whether it has the window's own resolution. */
  get(metric: string, scope: Scope): { series: MetricSeries | undefined; exact: boolean; failure: unknown } {
    const detail = this.detailOf ? this.detail.series.get(key(metric, scope)) : undefined;
    const overview = this.overview.series.get(key(metric, scope));
    return {
      series: detail ?? overview,
      exact: !this.detailOf || detail !== undefined,
      failure: this.overview.failures.get(key(metric, scope)) ?? null,
    };
  }

  errorOf(metric: string): string | undefined {
    return this.overview.errors.find((text) => text.startsWith(`${metric}:`))?.slice(metric.length + 1).trim();
  }

  /** Load what is wanted and not there. */
  async want(wanted: Wanted[]): Promise<void> {
    this.wanted = wanted;
    const missing = wanted.filter(({ metric, scope }) => !this.asked.has(key(metric, scope)));
    for (const { metric, scope } of missing) this.asked.add(key(metric, scope));
    const resolution = this.resolutionFor(this.elapsed());
    const work: Promise<void>[] = questions(missing).map((question) => this.load(this.overview, { ...question, resolution }, this.stopAll.signal));
    if (this.detailOf && missing.length > 0) work.push(this.loadDetail(missing));
    await Promise.all(work);
  }

  retry(): void {
    for (const name of this.overview.failures.keys()) this.asked.delete(name);
    this.overview.failures.clear();
    void this.want(this.wanted);
  }

  /** The window changed. Its curves are loaded; until then the overview's are stretched. */
  async look(window: [number, number] | null): Promise<void> {
    this.stopDetail.abort();
    this.stopDetail = new AbortController();
    this.detail.clear();
    this.detailOf = window;
    if (window) await this.loadDetail(this.wanted);
  }

  private async loadDetail(wanted: Wanted[]): Promise<void> {
    const [from, to] = this.detailOf!;
    const margin = (to - from) * MARGIN;
    // Nothing finer to be had: the overview is as measured.
    const asMeasured = (one: Wanted) => {
      const series = this.overview.series.get(key(one.metric, one.scope));
      const step = series?.series[0]?.step ?? series?.spread?.step;
      return step !== undefined && step <= series!.nativeTimestep;
    };
    await Promise.all(
      questions(wanted.filter((one) => !asMeasured(one))).map((question) =>
        this.load(
          this.detail,
          { ...question, resolution: this.resolutionFor(to - from), from: Math.floor(Math.max(this.job.startTime, from - margin)), to: Math.ceil(to + margin) },
          this.stopDetail.signal,
        ),
      ),
    );
  }

  private async load(layer: Layer, question: SeriesQuestion, signal: AbortSignal): Promise<void> {
    this.busy += 1;
    try {
      const frame = await client.series(this.job.id, question, signal);
      this.now = frame.now;
      layer.put(question, frame);
    } catch (error) {
      if (session.report(error)) for (const metric of question.metrics) layer.failures.set(key(metric, question.scope), error);
      else if (!isAbort(error) || !signal.aborted) for (const metric of question.metrics) this.asked.delete(key(metric, question.scope));
    } finally {
      this.busy -= 1;
    }
  }

  private elapsed(): number {
    return this.job.state === 'running' ? Math.max(1, (this.now || Date.now() / 1000) - this.job.startTime) : this.job.duration;
  }

  /** Seconds per value. Said in seconds, not points, so that a later answer continues each metric's grid. */
  private resolutionFor(span: number): number {
    return Math.max(1, Math.ceil(span / this.points));
  }

  /** Continue a running job's curves. Throws what the client throws. */
  async poll(tail: [number, number] | null): Promise<void> {
    this.polls += 1;
    const signal = this.stopAll.signal;
    for (const part of this.overview.parts) {
      const { frame, question } = part;
      // From time to time the whole, so that statistics, late samples and the resolution are right again.
      const resolution = this.resolutionFor(this.elapsed());
      const whole = frame.next === null || resolution > 1.4 * question.resolution! || this.polls % 20 === 0;
      if (whole) part.question = { ...question, resolution };
      const answer = await client.series(this.job.id, whole ? part.question : { ...question, since: frame.next! }, signal);
      part.frame = whole ? answer : continueFrame(frame, answer, frame.next!);
      this.now = answer.now;
      this.overview.show(part.question, part.frame);
    }
    if (tail) {
      const [from, to] = tail;
      for (const part of this.detail.parts) {
        part.question = { ...part.question, from: Math.floor(from), to: Math.ceil(to) };
        part.frame = await client.series(this.job.id, part.question, this.stopDetail.signal);
        this.detail.show(part.question, part.frame);
      }
    }
  }

  /** Everything anew: the job has ended, its curves now come from the archive. */
  async reload(): Promise<void> {
    this.asked.clear();
    this.overview.parts.length = 0;
    const detail = this.detailOf;
    await this.want(this.wanted);
    if (detail) await this.look(detail);
  }
}

/** Metrics that can be asked for together. */
function questions(wanted: Wanted[]): SeriesQuestion[] {
  const groups = new Map<string, SeriesQuestion>();
  for (const { metric, scope, count } of wanted) {
    const spread = count > TOO_MANY ? 'only' : count > MANY ? 'with' : undefined;
    const group = `${scope} ${spread ?? ''}`;
    const question = groups.get(group) ?? { metrics: [], scope, spread };
    question.metrics.push(metric);
    groups.set(group, question);
  }
  return [...groups.values()];
}
