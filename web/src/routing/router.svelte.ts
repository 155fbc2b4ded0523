// The address bar as state. Plain links are followed without reloading the page.

import { match, type Route } from './routes';

class Router {
  path = $state(location.pathname);
  query = $state(location.search);
  readonly parameters = $derived(new URLSearchParams(this.query));
  readonly route: Route = $derived(match(this.path, this.parameters));

  constructor() {
    addEventListener('popstate', () => this.read());
    addEventListener('click', (event) => this.follow(event));
  }

  /** Go to an address of this application. `replace`: without a step in the history. */
  go(href: string, options: { replace?: boolean } = {}): void {
    const url = new URL(href, location.href);
    if (url.href === location.href) return;
    const elsewhere = url.pathname !== location.pathname;
    history[options.replace ? 'replaceState' : 'pushState'](null, '', url);
    this.read();
    if (elsewhere) scrollTo(0, 0);
  }

  /** Change the query of this page. */
  setQuery(parameters: URLSearchParams, options: { replace?: boolean } = {}): void {
    // Commas and colons are harmless in a query and readable.
    const text = parameters.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
    this.go(`${this.path}${text ? `?${text}` : ''}`, options);
  }

  private read(): void {
    this.path = location.pathname;
    this.query = location.search;
  }

  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    const link = (event.target as Element | null)?.closest?.('a');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    event.preventDefault();
    this.go(link.href);
  }
}

export const router = new Router();
