import { describe, expect, it } from 'vitest';
import { match, searchTarget } from '../src/routing/routes';

const at = (address: string) => {
  const url = new URL(address, 'http://x');
  return match(url.pathname, url.searchParams);
};

describe('addresses of the reference', () => {
  it.each([
    ['/', 'start'],
    ['/login', 'login'],
    ['/search?searchId=x', 'search'],
    ['/monitoring/jobs/', 'jobs'],
    ['/monitoring/jobs', 'jobs'],
    ['/monitoring/job/17', 'job'],
    ['/monitoring/job/17/', 'job'],
    ['/monitoring/user/abc', 'jobs'],
    ['/job/alex/4711', 'redirect'],
    ['/config', 'later'],
    ['/imprint', 'later'],
    ['/monitoring/users/', 'later'],
    ['/monitoring/projects/', 'later'],
    ['/monitoring/tags/', 'later'],
    ['/monitoring/systems/alex', 'later'],
    ['/monitoring/systems/list/alex/a40', 'later'],
    ['/monitoring/node/alex/a0603?from=1&to=2', 'later'],
    ['/monitoring/analysis/alex', 'later'],
    ['/monitoring/status/alex', 'later'],
    ['/monitoring/status/detail/alex', 'later'],
    ['/monitoring/dashboard/alex', 'later'],
    ['/monitoring/logs', 'later'],
    ['/monitoring/job/abc', 'unknown'],
    ['/monitoring/', 'unknown'],
    ['/monitoring/node/alex', 'unknown'],
  ])('%s is %s', (address, view) => expect(at(address).view).toBe(view));

  it('takes names as they were meant', () => {
    expect(at('/monitoring/user/a%2Fb')).toEqual({ view: 'jobs', user: 'a/b' });
    expect(at('/monitoring/user/%E0%A4%A')).toEqual({ view: 'jobs', user: '%E0%A4%A' });
    expect(at('/job/a%26b/4711')).toEqual({ view: 'redirect', to: '/monitoring/jobs/?cluster=a%26b&jobId=4711' });
  });

  it('offers something instead of a view that is not here', () => {
    const route = at('/monitoring/node/alex/a%260603');
    expect(route.view === 'later' && route.instead[0]).toEqual({ label: 'Jobs on a&0603', href: '/monitoring/jobs/?cluster=alex&node=a%260603' });
  });
});

describe('search', () => {
  it.each<[string, unknown]>([
    ['4711', { to: '/monitoring/jobs/?jobId=4711' }],
    [' jobId : 4711 ', { to: '/monitoring/jobs/?jobId=4711' }],
    ['jobName:a b', { to: '/monitoring/jobs/?jobName=a%20b' }],
    ['projectId:p', { to: '/monitoring/jobs/?project=p' }],
    ['username:u', { to: '/monitoring/user/u' }],
    ['gromacs', null],
  ])('%s', (text, target) => expect(searchTarget(text)).toEqual(target));

  it.each(['', '  ', 'a:b:c', 'color:red', 'jobId:'])('“%s” is answered with words', (text) => expect(searchTarget(text)).toHaveProperty('message'));
});
