import { svelte } from '@sveltejs/vite-plugin-svelte';
import { env } from 'node:process';
import { defineConfig } from 'vitest/config';

// The back end of `npm run dev`: the local stack, or `node dev/server.mjs`.
const backend = env.CC_BACKEND ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // A file inlined as data: URL would need a wider Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    host: '127.0.0.1',
    proxy: Object.fromEntries(
      ['/query', '/frontend', '/login', '/logout', '/api'].map((path) => [
        path,
        { target: backend, bypass: (request) => (request.method === 'GET' && path === '/login' ? '/' : undefined) },
      ]),
    ),
  },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
