// GraphQL documents. They name exactly what the views read.

const UNIT = 'unit { base prefix }';

export const CATALOG = `query Catalog {
  clusters {
    name partitions
    subClusters {
      name nodes numberOfNodes processorType socketsPerNode coresPerSocket threadsPerCore footprint
      topology { node socket memoryDomain core accelerators { id } }
      metricConfig { name ${UNIT} scope aggregation timestep peak normal caution alert lowerIsBetter }
    }
  }
  globalMetrics { name scope footprint ${UNIT} availability { cluster subClusters } }
}`;

const JOB_FIELDS = `
  id jobId user project cluster subCluster partition arrayJobId startTime duration walltime
  numNodes numHWThreads numAcc energy SMT shared monitoringStatus state
  tags { id type name scope }
  resources { hostname hwthreads accelerators }
  footprint { name stat value }
  jobName message`;

export const JOBS = `query Jobs($filter: [JobFilter!]!, $order: OrderByInput!, $page: PageRequest!) {
  jobs(filter: $filter, order: $order, page: $page) {
    items { ${JOB_FIELDS} userData { name } }
    count hasNextPage
  }
}`;

export const JOB = `query Job($id: ID!) {
  job(id: $id) {
    ${JOB_FIELDS} metaData
    userData { name email }
    concurrentJobs { items { id jobId } listQuery }
    energyFootprint { hardware metric value }
  }
}`;

/** One `jobs` count per filter variable `f0`, `f1`, …, answered as `n0`, `n1`, … */
export function countsDocument(filters: number): string {
  const each = Array.from({ length: filters }, (_, i) => i);
  return `query Counts(${each.map((i) => `$f${i}: [JobFilter!]!`).join(', ')}) {
  ${each.map((i) => `n${i}: jobs(filter: $f${i}, page: { itemsPerPage: 1, page: 1 }) { count }`).join('\n  ')}
}`;
}

/** The first jobs of several lists: filter `f0`, order `o0`, page `p0`, …, answered as `n0`, … */
export function beginningsDocument(lists: number): string {
  const each = Array.from({ length: lists }, (_, i) => i);
  return `query Beginnings(${each.map((i) => `$f${i}: [JobFilter!]!, $o${i}: OrderByInput!, $p${i}: PageRequest!`).join(', ')}) {
  ${each.map((i) => `n${i}: jobs(filter: $f${i}, order: $o${i}, page: $p${i}) { items { ...Brief } }`).join('\n  ')}
}
fragment Brief on Job {
  id jobId user project cluster subCluster arrayJobId startTime duration walltime numNodes numHWThreads numAcc shared
  monitoringStatus state resources { hostname } footprint { name stat value } jobName
}`;
}
