// Levels of hardware: which exist for a metric, and which to show first.

import type { Job, MetricConfig, Scope } from '../client/model';

const RANK: Record<Scope, number> = { node: 10, socket: 5, memoryDomain: 4, core: 3, hwthread: 2, accelerator: 1 };

export const SCOPE_WORDS: Record<Scope, [one: string, many: string]> = {
  node: ['node', 'nodes'],
  socket: ['socket', 'sockets'],
  memoryDomain: ['memory domain', 'memory domains'],
  core: ['core', 'cores'],
  hwthread: ['hardware thread', 'hardware threads'],
  accelerator: ['accelerator', 'accelerators'],
};

/** Scopes a metric measured at `native` can be shown at, coarse to fine. */
export function scopesOf(native: Scope): Scope[] {
  if (native === 'accelerator') return ['node', 'accelerator'];
  return (Object.keys(RANK) as Scope[]).filter((scope) => scope !== 'accelerator' && RANK[scope] >= RANK[native]);
}

/** Accelerators are always told apart; a job on one node is looked at as closely as was measured, but not
 * below cores; over several nodes the nodes are compared. */
export function firstScope(config: Pick<MetricConfig, 'scope'>, job: Pick<Job, 'numNodes'>): Scope {
  if (config.scope === 'accelerator') return 'accelerator';
  if (job.numNodes > 1) return 'node';
  return config.scope === 'hwthread' ? 'core' : config.scope;
}

/** `a0603`, `a0603 · core 3`. */
export function seriesName(hostname: string, scope: Scope, id: string | null, manyHosts: boolean): string {
  if (id === null || scope === 'node') return hostname;
  const unit = `${scope === 'accelerator' ? 'acc' : SCOPE_WORDS[scope][0]} ${id}`;
  return manyHosts ? `${hostname} · ${unit}` : unit;
}
