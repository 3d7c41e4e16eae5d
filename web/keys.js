/**
 * The wall's keys: arrows from tile to tile, or over a picture that is larger than the screen; Escape; f; + - 0.
 * @module
 */
import { fullScreen } from './header.js';

/** How far (CSS pixels) an arrow key moves a picture that is larger than the screen. */
const PAN = 60;

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
  if (zoom && onZoomKey(event.key, zoom)) return event.preventDefault();
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (step === undefined || tiles.length === 0) return;
  event.preventDefault();
  const at = tiles.findIndex((tile) => tile.element.contains(document.activeElement));
  const next = tiles[at < 0 ? 0 : at + step];
  if (!next) return;
  if (large) wall.open(next);
  else next.button.focus();
}

/**
 * @param {string} key
 * @param {import('./zoom.js').Zoom} zoom
 * @returns {boolean} whether it was one of these
 */
function onZoomKey(key, zoom) {
  const notches = { '+': 1, '=': 1, '-': -1 }[key];
  if (notches) zoom.step(notches);
  if (key === '0') zoom.reset();
  const [x, y] = { ArrowLeft: [-PAN, 0], ArrowRight: [PAN, 0], ArrowUp: [0, -PAN], ArrowDown: [0, PAN] }[key] ?? [0, 0];
  return notches !== undefined || key === '0' || ((x !== 0 || y !== 0) && zoom.pan(x, y));
}
