// Who is here, and what every view needs of the site.

import { HttpClient } from '../client/http';
import { NotAuthenticated, isAbort, type Client, type Settings } from '../client/client';
import { appearance } from '../design/appearance.svelte';
import { Preferences } from './preferences.svelte';
import { level, type Catalog, type Cluster, type Me, type MetricConfig, type SubCluster } from '../client/model';

export const client: Client = new HttpClient();
export const preferences = new Preferences(client);

class Session {
  /** `expired`: was in, and the door has closed since; the page keeps its state. */
  state = $state<'unknown' | 'out' | 'in' | 'expired'>('unknown');
  me = $state.raw<Me | null>(null);
  catalog = $state.raw<Catalog | null>(null);
  /** Why nothing can be shown at all. */
  failure = $state.raw<Error | null>(null);
  /** Grows with each log-in: views that failed for want of one ask again. */
  epoch = $state(0);
  readonly level = $derived(this.me ? level(this.me) : 0);

  async start(): Promise<void> {
    this.failure = null;
    try {
      const [me, catalog, settings] = await Promise.all([client.me(), client.catalog(), client.settings().catch((): Settings => ({}))]);
      preferences.settings = settings;
      appearance.adopt(settings.plotConfiguration_colorblindMode);
      this.me = me;
      this.catalog = catalog;
      this.state = 'in';
      this.epoch += 1;
    } catch (error) {
      if (error instanceof NotAuthenticated) this.state = 'out';
      else this.failure = error as Error;
    }
  }

  /** Throws where the door stays shut. */
  async login(username: string, password: string): Promise<void> {
    await client.login(username, password);
    await this.start();
    if (this.failure) throw this.failure;
  }

  async logout(): Promise<void> {
    try {
      await client.logout();
    } finally {
      this.me = null;
      this.catalog = null;
      this.state = 'out';
    }
  }

  /** Pass every error of a view through here: an expired log-in opens the dialog. True if it is to be shown. */
  report(error: unknown): boolean {
    if (isAbort(error)) return false;
    if (error instanceof NotAuthenticated) {
      this.state = this.state === 'in' ? 'expired' : this.state;
      return false;
    }
    return true;
  }

  cluster(name: string): Cluster | undefined {
    return this.catalog?.clusters.find((cluster) => cluster.name === name);
  }

  subCluster(cluster: string, name: string): SubCluster | undefined {
    return this.cluster(cluster)?.subClusters.find((sub) => sub.name === name);
  }

  metric(cluster: string, subCluster: string, name: string): MetricConfig | undefined {
    return this.subCluster(cluster, subCluster)?.metricConfig.find((metric) => metric.name === name);
  }
}

export const session = new Session();
