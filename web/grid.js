/**
 * Puts the tiles where the layout says.
 * @module
 */
import { wanted } from './api.js';
import { bestGrid, commonAspect, gridLine } from './layout.js';

/**
 * Fits `grid` to the stage.
 * @param {HTMLElement} grid
 * @param {HTMLElement} stage
 * @param {import('./tile.js').Tile[]} tiles at least one
 * @returns {number} its columns
 */
export function arrange(grid, stage, tiles) {
  const count = tiles.length;
  const { width, height } = stage.getBoundingClientRect();
  const gap = parseFloat(getComputedStyle(grid).columnGap);
  const aspect = commonAspect(tiles.map((tile) => tile.aspect));
  // Nobody scrolls a screen that nobody looks after.
  const smallest = wanted.has('kiosk') ? 0 : undefined;
  const fit = (/** @type {number} */ within) => bestGrid(count, within, height, aspect, gap, smallest);
  let best = fit(width);
  grid.classList.toggle('scrolls', best.scrolls);
  // A scroll bar takes its place from the tiles.
  if (best.scrolls) best = fit(grid.clientWidth);
  grid.style.gridTemplateColumns = `repeat(${2 * best.columns}, ${(best.tileWidth - gap) / 2}px)`;
  grid.style.gridAutoRows = `${best.tileHeight}px`;
  tiles.forEach((tile, index) => {
    tile.element.style.gridColumnStart = String(gridLine(index, count, best.columns) ?? 'auto');
  });
  return best.columns;
}

/**
 * Puts `tiles` in this order.
 * @param {HTMLElement} grid
 * @param {import('./tile.js').Tile[]} tiles
 */
export function place(grid, tiles) {
  // Moving a video about in the document pauses it, so only those out of place are moved, and all are started again.
  tiles.forEach((tile, index) => {
    const there = grid.children[index];
    if (there !== tile.element) grid.insertBefore(tile.element, there ?? null);
  });
  for (const tile of tiles) tile.resume();
}
