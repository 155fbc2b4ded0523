// After `vite build`: packs what is worth packing, and holds the first view to its budget.
// The first view is the shell, everything it loads at once, and nothing from another host.

import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const BUDGET = 150 * 1000;
const dist = fileURLToPath(new URL('../dist', import.meta.url));

const files = (folder) => readdirSync(folder).flatMap((name) => {
  const path = join(folder, name);
  return statSync(path).isDirectory() ? files(path) : [path];
});

const sizes = new Map();
let total = 0;
for (const path of files(dist)) {
  if (path.endsWith('.gz')) continue;
  const body = readFileSync(path);
  const packed = gzipSync(body, { level: 9 });
  if (packed.length < 0.9 * body.length && body.length > 1000) writeFileSync(`${path}.gz`, packed);
  sizes.set(relative(dist, path), Math.min(packed.length, body.length));
  total += Math.min(packed.length, body.length);

  if (/\.(js|css|html)$/.test(path)) {
    // A namespace is a name, not an address that is asked.
    const hosts = [...body.toString().matchAll(/["'(`](?:https?:)?\/\/([a-z0-9.-]+\.[a-z]{2,})[^"'`]*/gi)]
      .filter(([text, host]) => host !== 'www.w3.org' && !text.includes('svelte.dev/e/'));
    if (hosts.length > 0) fail(`${relative(dist, path)} names another host: ${hosts.map(([text]) => text).join(' ')}`);
  }
}

const shell = readFileSync(join(dist, 'index.html'), 'utf8');
const inline = /<script(?![^>]*\bsrc=)[^>]*>|<style[\s>]|\sstyle=|\son[a-z]+=/i.exec(shell);
if (inline) fail(`index.html holds inline code, which the Content-Security-Policy forbids: ${inline[0]}`);
const first = ['index.html', ...[...shell.matchAll(/(?:src|href)="\/([^"]+)"/g)].map(([, name]) => name)];
const size = first.reduce((sum, name) => sum + (sizes.get(name) ?? fail(`index.html asks for ${name}, which is not built`)), 0);
console.log(`first view ${(size / 1000).toFixed(1)} kB of ${BUDGET / 1000} kB gzip; everything ${(total / 1000).toFixed(1)} kB`);
if (size > BUDGET) fail('the first view is over its budget');

function fail(reason) {
  console.error(`budget: ${reason}`);
  process.exit(1);
}
