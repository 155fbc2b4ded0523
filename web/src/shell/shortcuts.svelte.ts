// Keys that work everywhere, and those that the view on screen adds. The help lists what is registered.

import { router } from '../routing/router.svelte';

export interface Shortcut {
  keys: string;
  what: string;
  run: () => void;
}

function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]');
}

class Shortcuts {
  help = $state(false);
  /** Of the view on screen. */
  local = $state.raw<Shortcut[]>([]);
  private prefix = '';

  readonly everywhere: Shortcut[] = [
    { keys: '/', what: 'Search', run: () => document.querySelector<HTMLInputElement>('#search')?.focus() },
    { keys: 'g j', what: 'Job list', run: () => router.go('/monitoring/jobs/') },
    { keys: 'g r', what: 'Running jobs', run: () => router.go('/monitoring/jobs/?state=running') },
    { keys: 'g c', what: 'Clusters', run: () => router.go('/') },
    { keys: '?', what: 'This help', run: () => (this.help = !this.help) },
  ];

  /** Keys of a view while it is on screen; returns how to take them away. */
  add(list: Shortcut[]): () => void {
    this.local = [...this.local, ...list];
    return () => (this.local = this.local.filter((one) => !list.includes(one)));
  }

  listen(): () => void {
    const pressed = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (isTyping(event.target)) {
        if (event.key === 'Escape') (event.target as HTMLElement).blur();
        return;
      }
      if (document.querySelector('dialog[open]') && event.key !== '?') return;
      const keys = this.prefix ? `${this.prefix} ${event.key}` : event.key;
      this.prefix = '';
      const all = [...this.local, ...this.everywhere];
      const found = all.find((one) => one.keys === keys);
      if (found) {
        event.preventDefault();
        found.run();
      } else if (event.key.length === 1 && all.some((one) => one.keys.startsWith(`${event.key} `))) {
        this.prefix = event.key;
        setTimeout(() => (this.prefix = ''), 1200);
      }
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }
}

export const shortcuts = new Shortcuts();
