// The domain as the browser sees it. Times are Unix seconds, durations seconds, energy kWh.

export type Scope = 'node' | 'socket' | 'memoryDomain' | 'core' | 'hwthread' | 'accelerator';
export type Sharing = 'none' | 'single_user' | 'multi_user';
export type Statistic = 'avg' | 'min' | 'max';

export const JOB_STATES = [
  'pending',
  'running',
  'completed',
  'failed',
  'timeout',
  'deadline',
  'preempted',
  'suspended',
  'cancelled',
  'out_of_memory',
  'boot_fail',
  'node_fail',
] as const;
export type JobState = (typeof JOB_STATES)[number];

export const ROLES = ['anonymous', 'api', 'user', 'manager', 'support', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface Me {
  username: string;
  name: string;
  roles: Role[];
  projects: string[];
}

/** The reference's authority level: the highest role counts. */
export function level(me: Me): number {
  return Math.max(0, ...me.roles.map((role) => ROLES.indexOf(role)));
}

export interface Unit {
  base: string;
  prefix: string;
}

export interface Thresholds {
  peak: number;
  normal: number;
  caution: number;
  alert: number;
  lowerIsBetter: boolean;
}

export interface MetricConfig extends Thresholds {
  name: string;
  unit: Unit;
  scope: Scope;
  aggregation: string;
  timestep: number;
}

export interface Topology {
  node: number[] | null;
  socket: number[][] | null;
  memoryDomain: number[][] | null;
  core: number[][] | null;
  accelerators: { id: string }[] | null;
}

export interface SubCluster {
  name: string;
  nodes: string;
  numberOfNodes: number;
  processorType: string;
  socketsPerNode: number;
  coresPerSocket: number;
  threadsPerCore: number;
  topology: Topology;
  metricConfig: MetricConfig[];
  footprint: string[];
}

export interface Cluster {
  name: string;
  partitions: string[];
  subClusters: SubCluster[];
}

export interface GlobalMetric {
  name: string;
  scope: Scope;
  footprint: string;
  unit: Unit;
  availability: { cluster: string; subClusters: string[] }[];
}

/** Clusters and metrics of the site: what every view needs to name, scale and colour anything. */
export interface Catalog {
  clusters: Cluster[];
  metrics: GlobalMetric[];
}

export interface Tag {
  id: number;
  type: string;
  name: string;
  scope: string;
}

export interface Resource {
  hostname: string;
  hwthreads: number[] | null;
  accelerators: string[] | null;
}

export interface FootprintValue {
  name: string;
  stat: Statistic;
  value: number;
}

export interface Job {
  id: number;
  jobId: number;
  user: string;
  userName: string;
  project: string;
  cluster: string;
  subCluster: string;
  partition: string;
  arrayJobId: number;
  startTime: number;
  duration: number;
  walltime: number;
  numNodes: number;
  numHWThreads: number;
  numAcc: number;
  energy: number;
  smt: number;
  shared: Sharing;
  /** 0 disabled, 1 running or archiving, 2 archiving failed, 3 archived */
  monitoringStatus: number;
  state: JobState;
  tags: Tag[];
  resources: Resource[];
  footprint: FootprintValue[];
  jobName: string;
  message: string;
}

export interface JobDetail extends Job {
  email: string;
  jobScript: string;
  slurmInfo: string;
  energyFootprint: { hardware: string; metric: string; value: number }[];
  concurrentJobs: { items: { id: string; jobId: number }[]; listQuery: string } | null;
}

export interface JobPage {
  jobs: Job[];
  count: number;
  hasNextPage: boolean;
}

export interface JobOrder {
  /** A column (`startTime`, `duration`, `numNodes`, `numHwthreads`, `numAcc`, `energy`) or a footprint key. */
  field: string;
  type: 'col' | 'foot';
  order: 'ASC' | 'DESC';
}

/** A condition list as GraphQL's `[JobFilter!]`: all hold together. */
export type JobFilterInput = Record<string, unknown>[];
