// Addresses: those of the views that exist, and those of the reference that do not exist here yet.

export type Route =
  | { view: 'start' }
  | { view: 'login' }
  | { view: 'jobs'; user?: string }
  | { view: 'job'; id: number }
  | { view: 'redirect'; to: string }
  | { view: 'search'; text: string }
  | { view: 'later'; what: string; text: string; instead: { label: string; href: string }[] }
  | { view: 'unknown' };

interface Later {
  pattern: RegExp;
  what: string;
  text: string;
  instead: (found: string[]) => { label: string; href: string }[];
}

const jobs = (label: string, query = '') => ({ label, href: `/monitoring/jobs/${query ? `?${query}` : ''}` });
const enc = encodeURIComponent;

const LATER: Later[] = [
  {
    pattern: /^\/monitoring\/users$/,
    what: 'User list',
    text: 'Totals per user are not here yet. The job list can be narrowed to a user, and each user has a page of jobs.',
    instead: () => [jobs('Job list of the last 30 days', 'startTime=last30d')],
  },
  {
    pattern: /^\/monitoring\/projects$/,
    what: 'Project list',
    text: 'Totals per project are not here yet. The job list can be narrowed to a project.',
    instead: () => [jobs('Job list of the last 30 days', 'startTime=last30d')],
  },
  {
    pattern: /^\/monitoring\/tags$/,
    what: 'Tag list',
    text: 'The overview of tags is not here yet. Links to jobs with a tag keep working.',
    instead: () => [jobs('Job list')],
  },
  {
    pattern: /^\/monitoring\/systems\/list\/([^/]+)(?:\/([^/]+))?$/,
    what: 'Node list',
    text: 'Node views are not here yet. What runs on the nodes is in the list of running jobs.',
    instead: ([cluster, sub]) => [
      jobs(`Running jobs on ${cluster}`, `cluster=${enc(cluster!)}${sub ? `&subCluster=${enc(sub)}` : ''}&state=running`),
    ],
  },
  {
    pattern: /^\/monitoring\/systems\/([^/]+)$/,
    what: 'Node overview',
    text: 'Node views are not here yet. What runs on the nodes is in the list of running jobs.',
    instead: ([cluster]) => [jobs(`Running jobs on ${cluster}`, `cluster=${enc(cluster!)}&state=running`)],
  },
  {
    pattern: /^\/monitoring\/node\/([^/]+)\/([^/]+)$/,
    what: 'Node view',
    text: 'The view of a single node is not here yet. Its jobs, running and past, can be listed, each with the node’s curves.',
    instead: ([cluster, node]) => [
      jobs(`Jobs on ${node}`, `cluster=${enc(cluster!)}&node=${enc(node!)}`),
      jobs(`Running on ${node}`, `cluster=${enc(cluster!)}&node=${enc(node!)}&state=running`),
    ],
  },
  {
    pattern: /^\/monitoring\/analysis\/([^/]+)$/,
    what: 'Analysis',
    text: 'Distributions and rooflines over many jobs are not here yet. The job list can be sorted and filtered by footprint.',
    instead: ([cluster]) => [jobs(`Jobs on ${cluster}`, `cluster=${enc(cluster!)}`)],
  },
  {
    pattern: /^\/monitoring\/(?:status(?:\/detail)?|dashboard)\/([^/]+)$/,
    what: 'Status dashboard',
    text: 'The dashboard of a cluster is not here yet. The start page shows what runs where.',
    instead: ([cluster]) => [
      { label: 'Clusters', href: '/' },
      jobs(`Running jobs on ${cluster}`, `cluster=${enc(cluster!)}&state=running`),
    ],
  },
  {
    pattern: /^\/monitoring\/logs$/,
    what: 'Log viewer',
    text: 'The log viewer is not here yet. The logs are in CloudWatch on AWS, and on standard error of a local installation.',
    instead: () => [{ label: 'Start page', href: '/' }],
  },
  {
    pattern: /^\/config$/,
    what: 'Settings',
    text: 'The settings page is not here yet. Accounts and tokens are managed with cc-backend -add-user, -del-user and -jwt; theme and palette are in the menu at the top right.',
    instead: () => [{ label: 'Start page', href: '/' }],
  },
  {
    pattern: /^\/(imprint|privacy)$/,
    what: 'Legal pages',
    text: 'This site has not provided this page.',
    instead: () => [{ label: 'Start page', href: '/' }],
  },
  {
    pattern: /^\/(oidc-login|jwt-login)$/,
    what: 'Single sign-on',
    text: 'This way to log in is not set up here. Log in with name and password.',
    instead: () => [{ label: 'Log in', href: '/login' }],
  },
];

export function match(path: string, parameters: URLSearchParams): Route {
  const bare = path === '/' ? '/' : path.replace(/\/$/, '');
  if (bare === '/') return { view: 'start' };
  if (bare === '/login') return { view: 'login' };
  if (bare === '/monitoring/jobs') return { view: 'jobs' };
  if (bare === '/search') return { view: 'search', text: parameters.get('searchId') ?? '' };
  const job = /^\/monitoring\/job\/(\d+)$/.exec(bare);
  if (job) return { view: 'job', id: Number(job[1]) };
  const user = /^\/monitoring\/user\/([^/]+)$/.exec(bare);
  if (user) return { view: 'jobs', user: decode(user[1]!) };
  const byScheduler = /^\/job\/([^/]+)\/(\d+)$/.exec(bare);
  if (byScheduler)
    return { view: 'redirect', to: `/monitoring/jobs/?cluster=${enc(decode(byScheduler[1]!))}&jobId=${byScheduler[2]}` };
  for (const { pattern, what, text, instead } of LATER) {
    const found = pattern.exec(bare);
    if (found)
      return { view: 'later', what, text, instead: instead(found.slice(1).map((part) => (part === undefined ? '' : decode(part)))) };
  }
  return { view: 'unknown' };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * Where the search field leads (`keyword:term`, or a bare term); null where only the server knows.
 * A message where it cannot be understood.
 */
export function searchTarget(text: string): { to: string } | { message: string } | null {
  const parts = text.split(':').map((part) => part.trim());
  if (text.trim() === '') return { message: 'Nothing to search for.' };
  if (parts.length > 2) return { message: 'A search has one colon at most: keyword:term.' };
  const [keyword, term] = parts.length === 2 ? [parts[0]!, parts[1]!] : ['', parts[0]!];
  if (term === '') return { message: `What should ${keyword} be?` };
  switch (keyword) {
    case 'jobId':
      return { to: `/monitoring/jobs/?jobId=${enc(term)}` };
    case 'jobName':
      return { to: `/monitoring/jobs/?jobName=${enc(term)}` };
    case 'arrayJobId':
      return { to: `/monitoring/jobs/?arrayJobId=${enc(term)}` };
    case 'projectId':
    case 'project':
      return { to: `/monitoring/jobs/?project=${enc(term)}` };
    case 'username':
    case 'user':
      return { to: `/monitoring/user/${enc(term)}` };
    case 'node':
      return { to: `/monitoring/jobs/?node=${enc(term)}` };
    case '':
      return /^\d+$/.test(term) ? { to: `/monitoring/jobs/?jobId=${term}` } : null;
    default:
      return { message: `Unknown keyword “${keyword}”. Known: jobId, jobName, arrayJobId, project, user, node.` };
  }
}
