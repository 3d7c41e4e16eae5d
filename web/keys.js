/**
 * The wall's keys: arrows from tile to tile, or over a picture that is larger than the screen; Escape; f; + - 0.
 * @module
 */
import { fullScreen } from './header.js';

/** @typedef {import('./tile.js').Tile} Tile */
/**
 * What the keys need of the wall. `tiles`: those one can go to, in their order; `columns` of the grid.
 * @typedef {{
 *   large: () => Tile | undefined,
 *   zoom: () => import('./zoom.js').Zoom | undefined,
 *   tiles: () => Tile[],
 *   columns: () => number,
 *   open: (tile: Tile) => void,
 *   back: () => void,
 * }} Wall
 */

/**
 * @param {KeyboardEvent} event
 * @param {Wall} wall
 */
export function onKey(event, wall) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target instanceof HTMLInputElement) return;
  const [large, zoom, tiles, columns] = [wall.large(), wall.zoom(), wall.tiles(), wall.columns()];
  if (event.key === 'Escape' && large) return wall.back();
  if (event.key === 'f') return fullScreen();
  if (zoom?.onKey(event.key)) return event.preventDefault();
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (step === undefined || tiles.length === 0) return;
  event.preventDefault();
  const at = tiles.findIndex((tile) => (large ? tile === large : tile.element.contains(document.activeElement)));
  const next = tiles[at < 0 ? 0 : at + step];
  if (!next) return;
  if (large) wall.open(next);
  else next.button.focus();
}
