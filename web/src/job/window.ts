// The one time window of a job's view, in seconds since the job began. Plots, statistics and the address
// bar all hold this one.

export type Window =
  | { kind: 'all' }
  | { kind: 'range'; from: number; to: number }
  /** The last `length` seconds of a running job, moving with it. */
  | { kind: 'tail'; length: number };

/** Shorter windows show nothing but the distance between samples. */
export const SHORTEST = 10;

export function readWindow(parameters: URLSearchParams): Window {
  const number = (key: string) => {
    const text = parameters.get(key);
    return text !== null && /^\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
  };
  const from = number('from');
  const to = number('to');
  const last = number('last');
  if (from !== undefined && to !== undefined && to - from >= SHORTEST) return { kind: 'range', from, to };
  if (last !== undefined && last >= SHORTEST) return { kind: 'tail', length: last };
  return { kind: 'all' };
}

export function writeWindow(window: Window, parameters: URLSearchParams): void {
  for (const key of ['from', 'to', 'last']) parameters.delete(key);
  if (window.kind === 'range') {
    parameters.set('from', String(Math.round(window.from)));
    parameters.set('to', String(Math.round(window.to)));
  } else if (window.kind === 'tail') parameters.set('last', String(Math.round(window.length)));
}

/** Beginning and end, for a job that has run `elapsed` seconds. */
export function bounds(window: Window, elapsed: number): [from: number, to: number] {
  const end = Math.max(elapsed, SHORTEST);
  if (window.kind === 'range') return [Math.max(0, window.from), window.to];
  if (window.kind === 'tail') return [Math.max(0, end - window.length), end];
  return [0, end];
}

/** A window inside the job: kept at least SHORTEST long, whole where it covers everything. */
export function clamped(from: number, to: number, elapsed: number): Window {
  const end = Math.max(elapsed, SHORTEST);
  const length = Math.min(end, Math.max(SHORTEST, to - from));
  const low = Math.max(0, Math.min(from, end - length));
  if (low <= end * 0.0005 && low + length >= end * 0.9995) return { kind: 'all' };
  return { kind: 'range', from: low, to: low + length };
}

/** Closer (`factor` < 1) or wider, keeping `anchor` (a time, by default the middle) where it is. */
export function zoomed(window: Window, factor: number, elapsed: number, anchor?: number): Window {
  const [from, to] = bounds(window, elapsed);
  const at = anchor ?? (from + to) / 2;
  const length = Math.max(SHORTEST, (to - from) * factor);
  const share = to > from ? (at - from) / (to - from) : 0.5;
  return clamped(at - share * length, at + (1 - share) * length, elapsed);
}

/** Moved by a share of its length; stops at the job's ends. */
export function moved(window: Window, share: number, elapsed: number): Window {
  const [from, to] = bounds(window, elapsed);
  const by = (to - from) * share;
  return clamped(from + by, to + by, elapsed);
}
