// Before first paint: the appearance chosen earlier, so that the page does not flash in the other one.
try {
  const { theme, palette } = JSON.parse(localStorage.getItem('cc-appearance') || '{}');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  if (palette === 'safe') document.documentElement.dataset.palette = palette;
} catch {
  // Storage may be forbidden; the system's preference holds.
}
