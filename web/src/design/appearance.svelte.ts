// Theme and palette: the system's choice until someone makes another; kept in this browser.

export type Theme = 'auto' | 'light' | 'dark';
export type Palette = 'default' | 'safe';

const KEY = 'cc-appearance';
const system = matchMedia('(prefers-color-scheme: dark)');

function stored(): { theme: Theme; palette: Palette } {
  try {
    const { theme, palette } = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, unknown>;
    return {
      theme: theme === 'light' || theme === 'dark' ? theme : 'auto',
      palette: palette === 'safe' ? 'safe' : 'default',
    };
  } catch {
    return { theme: 'auto', palette: 'default' };
  }
}

class Appearance {
  theme = $state<Theme>('auto');
  palette = $state<Palette>('default');
  private systemDark = $state(system.matches);
  readonly dark = $derived(this.theme === 'auto' ? this.systemDark : this.theme === 'dark');
  /** Changes whenever colours do: canvases redraw when it does. */
  readonly colours = $derived(`${this.dark ? 'dark' : 'light'}-${this.palette}`);

  constructor() {
    const { theme, palette } = stored();
    this.theme = theme;
    this.palette = palette;
    system.addEventListener('change', (event) => (this.systemDark = event.matches));
  }

  /** What the server keeps for this person, where it keeps anything. */
  adopt(colorblindMode: unknown): void {
    if (typeof colorblindMode === 'boolean') this.set({ palette: colorblindMode ? 'safe' : 'default' });
  }

  set(change: { theme?: Theme; palette?: Palette }): void {
    this.theme = change.theme ?? this.theme;
    this.palette = change.palette ?? this.palette;
    const { dataset } = document.documentElement;
    if (this.theme === 'auto') delete dataset.theme;
    else dataset.theme = this.theme;
    if (this.palette === 'default') delete dataset.palette;
    else dataset.palette = this.palette;
    try {
      localStorage.setItem(KEY, JSON.stringify({ theme: this.theme, palette: this.palette }));
    } catch {
      // Kept for this page only.
    }
  }
}

export const appearance = new Appearance();

/** Colours for canvases, as the style sheets have them now. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    curves: Array.from({ length: 8 }, (_, i) => of(`curve-${i + 1}`)),
    ramp: Array.from({ length: 5 }, (_, i) => of(`ramp-${i + 1}`)),
    grid: of('plot-grid'),
    axis: of('plot-axis'),
    tick: of('plot-tick'),
    normal: of('plot-normal'),
    gap: of('plot-gap'),
    cursor: of('plot-cursor'),
    alertZone: of('alert-zone'),
    cautionZone: of('caution-zone'),
    surface: of('surface'),
    font: `11px ${of('font-text')}`,
  };
}
export type Colours = ReturnType<typeof readColours>;

/** `count` colours: distinct ones while they last, then steps along the ramp. */
export function curveColours(colours: Colours, count: number): string[] {
  if (count <= colours.curves.length) return colours.curves.slice(0, count);
  const stops = colours.ramp.map(parse);
  return Array.from({ length: count }, (_, i) => {
    const at = (i / (count - 1)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(at));
    const share = at - low;
    const channel = (c: number) => Math.round(stops[low]![c]! + (stops[low + 1]![c]! - stops[low]![c]!) * share);
    return `rgb(${channel(0)}, ${channel(1)}, ${channel(2)})`;
  });
}

function parse(hex: string): number[] {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** The same colour, translucent. */
export function faded(colour: string, alpha: number): string {
  const [red, green, blue] = colour.startsWith('#') ? parse(colour) : (colour.match(/\d+/g) ?? []).map(Number);
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}
