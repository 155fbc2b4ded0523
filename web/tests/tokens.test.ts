// Contrast of the design language, for each theme and palette: text 4.5 : 1, graphics 3 : 1 (WCAG 2.2 AA).

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const css = readFileSync(new URL('../src/design/tokens.css', import.meta.url), 'utf8');

function block(selector: string): Record<string, string> {
  const at = css.indexOf(`${selector} {`);
  if (at < 0) throw new Error(`no block ${selector}`);
  const body = css.slice(css.indexOf('{', at) + 1, css.indexOf('}', at));
  return Object.fromEntries([...body.matchAll(/--([\w-]+):\s*([^;]+);/g)].map(([, name, value]) => [name!, value!.trim()]));
}

const light = block(':root');
const safe = block(":root[data-palette='safe']");
const dark = block(":root[data-theme='dark']");
const darkSafe = block(":root[data-theme='dark'][data-palette='safe']");
const THEMES: Record<string, Record<string, string>> = {
  light,
  'light, safe': { ...light, ...safe },
  dark: { ...light, ...dark },
  'dark, safe': { ...light, ...safe, ...dark, ...darkSafe },
};

function luminance(hex: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const channel = parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!;
}
function contrast(a: string, b: string): number {
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high! + 0.05) / (low! + 0.05);
}

describe.each(Object.entries(THEMES))('%s', (_, theme) => {
  it.each([
    ...['text', 'text-2', 'text-3', 'accent', 'alert', 'caution', 'normal', 'above', 'implausible', 'plot-tick'].flatMap((text) => [
      [text, 'surface'],
      [text, 'ground'],
    ]),
    ['text-2', 'hover'],
    ['text-3', 'hover'],
    ['text-2', 'sunken'],
    ['text', 'raised'],
    ['text-3', 'raised'],
    ['accent', 'accent-soft'],
    ['accent-text', 'accent'],
  ])('text %s on %s', (text, ground) => expect(contrast(theme[text!]!, theme[ground!]!)).toBeGreaterThanOrEqual(4.5));

  it.each(['alert-fill', 'normal-fill', 'above-fill', 'focus', ...Array.from({ length: 8 }, (_, i) => `curve-${i + 1}`)])('mark %s on surface', (mark) =>
    expect(contrast(theme[mark]!, theme.surface!)).toBeGreaterThanOrEqual(3),
  );
});

it('says the dark theme the same way for the system and by hand', () => {
  const system = block(":root:not([data-theme='light'])");
  expect(Object.fromEntries(Object.entries(system))).toEqual(Object.fromEntries(Object.entries(dark)));
});
