// Numbers, units and times as people read them. Three to four significant digits, decimal prefixes, binary
// ones where the unit says so; a zone with every wall-clock time that is not obviously local.

import type { Unit } from '../client/model';

const DECIMAL = ['n', 'µ', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const ONE = DECIMAL.indexOf('');
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

export interface Scale {
  /** Multiply a value in the metric's unit by this. */
  factor: number;
  /** Prefix and base to write after it. */
  unit: string;
}

/** Units that take no prefix: shares, counts, ratios. */
function isPlain(unit: Unit): boolean {
  return unit.base === '' || unit.base === '%' || unit.base === 'IPC' || unit.base === 'CPI' || unit.base === 'load';
}

/** A scale in which `magnitude` (a value in `unit`) reads as 1 to 999, for an axis or a table column. */
export function scaleFor(magnitude: number, unit: Unit): Scale {
  const size = Math.abs(magnitude);
  const own = unit.prefix.endsWith('i') ? unit.prefix : unit.prefix === 'K' ? 'k' : unit.prefix === 'u' ? 'µ' : unit.prefix;
  const table = own.endsWith('i') ? BINARY : DECIMAL;
  const base = own.endsWith('i') ? 1024 : 1000;
  const at = table.indexOf(own);
  if (!(size > 0) || !Number.isFinite(size) || at < 0 || isPlain(unit)) return { factor: 1, unit: unitText(unit) };
  let shift = Math.floor(Math.log(size * 1.0000001) / Math.log(base));
  const to = Math.max(0, Math.min(table.length - 1, at + shift));
  shift = to - at;
  // Fractions of bytes and flops are no unit of anything.
  if (to < ONE && at >= ONE && base === 1000 && /^(B|F|Flops)/.test(unit.base)) shift = Math.min(0, ONE - at);
  return { factor: base ** -shift, unit: table[at + shift]! + unit.base };
}

export function unitText(unit: Unit): string {
  const prefix = unit.prefix === 'K' ? 'k' : unit.prefix;
  return prefix + unit.base;
}

/** Up to four significant digits, no trailing zeros: 0.0123, 1.234, 12.34, 123.4, 1 234. */
export function formatNumber(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 10 ** digits) return Math.round(value).toLocaleString('en', { useGrouping: true }).replaceAll(',', '\u2009');
  if (size < 0.0005) return value.toExponential(1).replace('e-', 'e−');
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return String(Number(value.toFixed(Math.min(6, decimals))));
}

/** A value with its unit: `12.3 GB/s`. */
export function formatValue(value: number | null | undefined, unit: Unit, digits = 3): string {
  if (value == null || !Number.isFinite(value)) return '–';
  const scale = scaleFor(value, unit);
  const text = formatNumber(value * scale.factor, digits);
  return scale.unit ? `${text}${scale.unit === '%' ? '\u2009' : '\u00a0'}${scale.unit}` : text;
}

const two = (value: number) => String(value).padStart(2, '0');

/** `h:mm:ss`, from a day on `2d 03:04:05`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const tail = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return days > 0 ? `${days}d\u00a0${two(hours)}:${tail}` : `${hours}:${tail}`;
}

/** The two leading parts: `3d 4h`, `4h 12m`, `12m 5s`. */
export function formatRoughDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor((whole % 86400) / 3600), 'h'],
    [Math.floor((whole % 3600) / 60), 'm'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, name]) => `${value}${name}`)
    .join(' ');
}

/** Tick of an elapsed-time axis with steps of `step` seconds: `0:30`, `2:05h`, `1d 06h`. */
export function formatElapsed(seconds: number, step = 60): string {
  const sign = seconds < 0 ? '−' : '';
  const whole = Math.abs(Math.round(seconds));
  if (whole === 0) return '0';
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days > 0) return `${sign}${days}d${step < 86400 ? ` ${two(hours)}${step < 3600 ? `:${two(minutes)}` : 'h'}` : ''}`;
  if (step < 60) return hours > 0 ? `${sign}${hours}:${two(minutes)}:${two(whole % 60)}` : `${sign}${minutes}:${two(whole % 60)}`;
  if (hours === 0) return `${sign}${minutes}m`;
  return minutes === 0 && step >= 3600 ? `${sign}${hours}h` : `${sign}${hours}:${two(minutes)}h`;
}

const DAY = { month: 'short', day: 'numeric' } as const;
const CLOCK = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const;
const thisYear = new Intl.DateTimeFormat(undefined, { ...DAY, ...CLOCK });
const anyYear = new Intl.DateTimeFormat(undefined, { ...DAY, ...CLOCK, year: 'numeric' });
const precise = new Intl.DateTimeFormat(undefined, { ...DAY, ...CLOCK, year: 'numeric', second: '2-digit', timeZoneName: 'short' });

/** To the minute; the year only where it is another. */
export function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return (date.getFullYear() === new Date().getFullYear() ? thisYear : anyYear).format(date);
}

/** To the second, with the zone. */
export function formatExactTime(seconds: number): string {
  return precise.format(seconds * 1000);
}

/** `14:05`, `14:05:30` or `24 Nov 14:05`, as a wall-clock axis with steps of `step` seconds needs it. */
export function formatClock(seconds: number, step: number, withDay: boolean): string {
  const date = new Date(seconds * 1000);
  const time = `${two(date.getHours())}:${two(date.getMinutes())}${step < 60 ? `:${two(date.getSeconds())}` : ''}`;
  if (!withDay && step < 86400) return time;
  const month = date.toLocaleString(undefined, { day: 'numeric', month: 'short' });
  return step >= 86400 ? month : `${month} ${time}`;
}

const zone = new Intl.DateTimeFormat('en', { timeZoneName: 'short' });

/** The reader's zone at that time: `CET`, `UTC`, `GMT+2`. */
export function formatZone(seconds: number): string {
  return zone.formatToParts(seconds * 1000).find((part) => part.type === 'timeZoneName')?.value ?? '';
}

/** On the reader's calendar. */
export function sameDay(a: number, b: number): boolean {
  return new Date(a * 1000).toDateString() === new Date(b * 1000).toDateString();
}

/** `just now`, `3 min ago`, `yesterday`-like distances for list rows. */
export function formatAgo(seconds: number, now: number): string {
  const age = now - seconds;
  if (age < 45) return 'just now';
  if (age < 5400) return `${Math.round(age / 60)} min ago`;
  if (age < 129600) return `${Math.round(age / 3600)} h ago`;
  return `${Math.round(age / 86400)} d ago`;
}
