// What people choose for themselves, kept by the server under the reference's keys, so that it follows them.

import type { Client, Settings } from '../client/client';

/** As shipped: a site that has not chosen, so that what a subcluster judges jobs by may decide. */
const SHIPPED = ['cpu_load', 'flops_any', 'mem_bw', 'mem_used'];
const SHIPPED_PER_ROW = 3;

export type MetricsOf = 'metricConfig_jobListMetrics' | 'metricConfig_jobViewPlotMetrics';

function texts(value: unknown): string[] | undefined {
  return Array.isArray(value) && value.every((one) => typeof one === 'string') ? value : undefined;
}

/** The metrics chosen for a place: the most specific choice counts; empty is nobody's choice. */
export function chosenMetrics(settings: Settings, key: MetricsOf, cluster: string, subCluster: string): string[] {
  const specific = texts(settings[`${key}:${cluster}:${subCluster}`]) ?? texts(settings[`${key}:${cluster}`]);
  if (specific) return specific;
  const general = texts(settings[key]) ?? [];
  return general.join() === SHIPPED.join() ? [] : general;
}

export class Preferences {
  settings = $state.raw<Settings>({});

  constructor(private readonly client: Client) {}

  metrics(key: MetricsOf, cluster: string, subCluster: string): string[] {
    return chosenMetrics(this.settings, key, cluster, subCluster);
  }

  /** Plots side by side in the job view; 0: as many as fit well. */
  get plotsPerRow(): number {
    const value = this.settings.plotConfiguration_plotsPerRow;
    return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value !== SHIPPED_PER_ROW ? value : 0;
  }

  /** Holds at once. Throws where the server did not keep it: then it holds until the page is left. */
  async keep(key: string, value: unknown): Promise<void> {
    this.settings = { ...this.settings, [key]: value };
    await this.client.keep(key, value);
  }

  keepPlotsPerRow(count: number): Promise<void> {
    return this.keep('plotConfiguration_plotsPerRow', count === 0 ? SHIPPED_PER_ROW : count);
  }
}
