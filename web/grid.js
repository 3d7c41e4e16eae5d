/**
 * Puts the tiles where the layout says.
 * @module
 */
import { bestGrid, commonAspect, gridLine } from './layout.js';

/**
 * Fits `grid` to the stage.
 * @param {HTMLElement} grid
 * @param {HTMLElement} stage
 * @param {import('./tile.js').Tile[]} tiles at least one
 * @returns {number} its columns
 */
export function arrange(grid, stage, tiles) {
  const { width, height } = stage.getBoundingClientRect();
  const gap = parseFloat(getComputedStyle(grid).columnGap);
  const best = bestGrid(tiles.length, width, height, commonAspect(tiles.map((tile) => tile.aspect)), gap);
  grid.classList.toggle('scrolls', best.scrolls);
  grid.style.gridTemplateColumns = `repeat(${2 * best.columns}, ${(best.tileWidth - gap) / 2}px)`;
  grid.style.gridAutoRows = `${best.tileHeight}px`;
  tiles.forEach((tile, index) => {
    tile.element.style.gridColumnStart = String(gridLine(index, tiles.length, best.columns) ?? 'auto');
  });
  return best.columns;
}
